"""What an engine is, and what goes between it and the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from batch.records import EncodeTask, Happening, Outcome, RunSpec, Task


def _nothing(*_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: what is being worked on, the stage, and how many of how many of its parts are done."""

    name: str
    stage: str
    part: int = 0
    parts: int = 0


@dataclass(slots=True)
class Control:
    """The runner's hand on a running engine: what may start goes down, progress and happenings come up."""

    stop: Event = field(default_factory=Event)
    on_beat: Callable[[Beat], None] = _nothing
    on_happening: Callable[[Happening], None] = _nothing
    admit: Callable[[Task], None] = _nothing
    """Asked before an image is started; raises a :class:`~batch.base.errors.StopRun` when no more may be."""


class Engine(Protocol):
    """Renders tasks. Exactly one outcome per task that was started, in any order.

    A task's failure is an outcome, never an exception; a :class:`~batch.base.errors.StopRun` ends the run.
    When ``control.stop`` is set, what is being saved is committed, what is being rendered is dropped, and
    :class:`~batch.base.errors.Interrupted` is raised; so too with what ``control.admit`` raises, save that nothing
    is dropped then.
    """

    def start(self, devices: str | None, stop: Event) -> str:
        """Choose the device; returns its name. Raises :class:`~batch.base.errors.UserError` if there is none."""
        ...

    def execute(self, tasks: Sequence[Task | EncodeTask], spec: RunSpec, control: Control) -> Iterator[Outcome]:
        """Run the tasks in order, texts before the images that need them. May be called again."""
        ...

    def close(self) -> None:
        """Give everything back; called once, whatever happened."""
        ...
