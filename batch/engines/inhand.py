"""What a worker has in hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batch.engines.agenda import images_among, key_of
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.engines.messages import Assignment


class InHand:
    """What the worker of a seat was given and has not been heard of since, in order."""

    def __init__(self) -> None:
        self._given: dict[str, Assignment] = {}
        self._rendering = ""
        """The one of these that is not being saved yet; of a batch the first."""
        self.together = 1
        """Images of the call that is being made."""

    @property
    def busy(self) -> bool:
        """Whether there is anything."""
        return bool(self._given)

    @property
    def given(self) -> Sequence[Assignment]:
        """All that there is."""
        return list(self._given.values())

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

    def give(self, taken: Sequence[Assignment], *, alone: bool) -> Assignment:
        """Taken from the agenda, of one call: the assignment that says so."""
        first = taken[0]
        self._given.update((key_of(item.task), item) for item in taken)
        self._rendering, self.together = key_of(first.task), len(taken)
        return replace(first, more=tuple(images_among(taken[1:])), alone=first.alone or alone)

    def rendered(self) -> None:
        """The worker asks for more: nothing is being rendered."""
        self._rendering = ""

    def done(self, key: str) -> None:
        """The worker has told of one, or its receipt has."""
        self._given.pop(key, None)

    def change(self, assignment: Assignment) -> bool:
        """Put an assignment in the place of the one that it came from; whether it is the only one."""
        self._given[key_of(assignment.task)] = assignment
        return len(self._given) == 1

    def drop(self) -> list[Assignment]:
        """Whatever the worker had is not in hand any more."""
        left = list(self._given.values())
        self._given.clear()
        self._rendering = ""
        return left
