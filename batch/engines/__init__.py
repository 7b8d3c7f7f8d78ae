"""Who renders which task where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from batch.records import EncodeTask, Happening, Outcome, RunSpec, Task


def _nothing(*_: object) -> None:
    return


@dataclass(slots=True)
class Control:
    """The runner's hand on a running engine: what may start goes down, progress and happenings come up."""

    stop: Event = field(default_factory=Event)
    on_step: Callable[[str, int, int], None] = _nothing
    """Called with what is being rendered, the step and the number of steps."""
    on_happening: Callable[[Happening], None] = _nothing
    admit: Callable[[Task], None] = _nothing
    """Asked before an image is started; raises a :class:`~batch.errors.StopRun` when no more may be."""


class Engine(Protocol):
    """Renders tasks. Exactly one outcome per task that was started, in any order.

    A task's failure is an outcome, never an exception; a :class:`~batch.errors.StopRun` ends the run.
    When ``control.stop`` is set, what is being saved is committed, what is being rendered is dropped, and
    :class:`~batch.errors.Interrupted` is raised; so too with what ``control.admit`` raises.
    """

    def execute(self, tasks: Sequence[Task | EncodeTask], spec: RunSpec, control: Control) -> Iterator[Outcome]:
        """Run the tasks in order, texts before the images that need them."""
        ...
