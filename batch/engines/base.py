"""What an engine is: it renders tasks somewhere, and tells what comes up on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Event
from typing import Protocol

from batch.records.events import Listener
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

Admit = Callable[[Task], None]
"""Asked before an image is started; raises a :class:`~batch.base.errors.StopRun` when no more may be."""


def admit_all(_task: Task) -> None:
    """Any image may be started."""


Texts = Callable[[Iterable[Task]], Sequence[EncodeTask]]
"""Given the images that wait, in order: the texts to be encoded before the first of them is started."""


def no_texts(_images: Iterable[Task]) -> Sequence[EncodeTask]:
    """None: whatever is to be encoded is among the tasks."""
    return ()


class Engine(Protocol):
    """Renders tasks. Exactly one outcome per task that was started, in any order.

    A task's failure is an outcome, never an exception; a :class:`~batch.base.errors.StopRun` ends the run.
    When ``stop`` is set, what is being saved is committed, what is being rendered is dropped, and
    :class:`~batch.base.errors.Interrupted` is raised; so too with what ``admit`` raises, save that nothing
    is dropped then. The listener is told every ``Beat`` and ``Happening``; outcomes are yielded and not told.
    """

    def start(self, devices: str | None, stop: Event) -> str:
        """Choose the device; returns its name. Raises :class:`~batch.base.errors.UserError` if there is none."""
        ...

    def execute(
        self,
        tasks: Sequence[Task | EncodeTask],
        spec: RunSpec,
        listener: Listener,
        *,
        stop: Event,
        admit: Admit = admit_all,
        texts: Texts = no_texts,
    ) -> Iterator[Outcome]:
        """Run the tasks in order, and before an image what ``texts`` asks for. Called once."""
        ...

    def close(self) -> None:
        """Give everything back; called once, whatever happened."""
        ...
