"""What a run still has to do, and what its worker has in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from batch.engines.base import no_texts
from batch.engines.batches import alike
from batch.engines.messages import Assignment
from batch.plan.alike import load_key, session_key
from batch.records.kinds import Stage
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.base import Texts

Admitted = Callable[[Task | EncodeTask], bool]


class InHand:
    """Tasks that wait, and those that the worker was given and has not been heard of since, both in order."""

    def __init__(
        self,
        tasks: Iterable[Task | EncodeTask],
        spec: RunSpec,
        attempts: dict[str, int],
        texts: Texts = no_texts,
    ) -> None:
        self._spec = spec
        self._texts = texts
        self._waiting = deque(Assignment(task) for task in tasks)
        self._given: dict[str, Assignment] = {}
        self._rendering = ""
        """The one of these that is not being saved yet; of a batch the first."""
        self.attempts = attempts
        """Failed ones by the image's id."""
        self.together = 1
        """Images of the call that is being made."""

    @property
    def busy(self) -> bool:
        """Whether the worker has any."""
        return bool(self._given)

    @property
    def waits(self) -> bool:
        """Whether anything does."""
        return bool(self._waiting)

    def head(self) -> Task | EncodeTask | None:
        """What comes next, a text that the next image lacks before the image; None when nothing waits."""
        if self._waiting and isinstance(self._waiting[0].task, Task):
            lacking = self._texts(item.task for item in self._waiting if isinstance(item.task, Task))
            self._waiting.extendleft(Assignment(text) for text in reversed(lacking))
        return self._waiting[0].task if self._waiting else None

    @property
    def rendering(self) -> Assignment | None:
        """What is being rendered; of a batch the first."""
        return self._given.get(self._rendering)

    @property
    def suspect(self) -> Assignment | None:
        """What a worker that dies now was most likely at."""
        return self.rendering or next(iter(self._given.values()), None)

    @property
    def images(self) -> list[str]:
        """Ids of the images that the worker has."""
        return [name for name, given in self._given.items() if isinstance(given.task, Task)]

    def take(self, admitted: Admitted) -> tuple[Assignment, int]:
        """The next assignment, with the images that go into the same call; how many images that gives out."""
        first = self._waiting.popleft()
        taken = [first]
        ready = takewhile(lambda item: not (item.alone or item.step_down), self._waiting)
        for other in [] if first.alone else alike(first.task, (item.task for item in ready), self._spec):
            if not admitted(other):
                break
            taken.append(self._waiting.popleft())
        self._given.update((key(item.task), item) for item in taken)
        self._rendering, self.together = key(first.task), len(taken)
        more = tuple(item.task for item in taken[1:] if isinstance(item.task, Task))
        # Saving beside the next image would cost a measurement its time.
        assignment = replace(first, more=more, alone=first.alone or self._spec.measure)
        return assignment, sum(isinstance(item.task, Task) for item in taken)

    def rendered(self) -> None:
        """The worker asks for more: nothing is being rendered."""
        self._rendering = ""

    def done(self, outcome: Outcome) -> Outcome:
        """The worker has told of one, or its receipt has."""
        self._given.pop(outcome.key, None)
        if outcome.failure is not None:
            self.attempts[outcome.key] = outcome.failure.attempts
        return outcome

    def blame(self, assignment: Assignment, step_down: Stage | None) -> int | None:
        """A worker died over one: the number of its attempts now; None where others were in hand as well."""
        name = key(assignment.task)
        self._given[name] = Assignment(assignment.task, step_down=step_down)
        if len(self._given) > 1:
            return None  # it may have been the saving of another: each is rendered alone now
        self.attempts[name] = self.attempts.get(name, 0) + 1
        return self.attempts[name]

    def drop(self) -> None:
        """Whatever the worker had is left."""
        self._given.clear()

    def is_all(self, failed: Task | EncodeTask) -> bool:
        """Whether every image that is left needs what could not be loaded for a task."""
        left = (item.task for item in (*self._given.values(), *self._waiting))
        return all(_needs_the_same(task, failed) for task in left if isinstance(task, Task))

    def leave(self, failed: Task | EncodeTask) -> list[Task | EncodeTask]:
        """Take out whatever needs what could not be loaded for a task."""
        left = [item for item in (*self._given.values(), *self._waiting) if _needs_the_same(item.task, failed)]
        for item in left:
            self._given.pop(key(item.task), None)
        self._waiting = deque(item for item in self._waiting if not _needs_the_same(item.task, failed))
        return [item.task for item in left]

    def again(self, *, alone: bool) -> None:
        """What the worker had comes first."""
        self._waiting.extendleft(reversed([replace(item, alone=alone) for item in self._given.values()]))
        self._given.clear()
        self._rendering = ""


def _needs_the_same(task: Task | EncodeTask, failed: Task | EncodeTask) -> bool:
    """Whether a task needs what could not be loaded for another: without its texts no image can be."""
    if isinstance(failed, EncodeTask):
        return session_key(task) == session_key(failed)
    return isinstance(task, Task) and load_key(task) == load_key(failed)


def key(task: Task | EncodeTask) -> str:
    """What an outcome calls a task."""
    return task.id if isinstance(task, Task) else task.key
