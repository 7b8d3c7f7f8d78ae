"""What a run still has to do, for all its seats: which of them does what next.

A seat stays with the model that is loaded there as long as images of it wait. Models that nobody has loaded are
begun in their order; a seat joins another's model where that pays. What comes back from a worker that died comes
first, at another seat where there is one; so do texts that the next image lacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from batch.engines.base import no_texts
from batch.engines.batches import alike
from batch.engines.costs import JoinCosts, TextCosts
from batch.engines.messages import Assignment
from batch.plan.alike import load_key, session_key
from batch.plan.texts import encode_tasks
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.base import Texts
    from batch.plan.alike import LoadKey

Admitted = Callable[[Task | EncodeTask], bool]

SEEN = 64
"""So many of the images that wait are looked at for one whose texts are there."""


class Desk:
    """A seat as the agenda knows it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.loaded: LoadKey | None = None
        """What its worker was last given something for."""
        self.refused: list[Task | EncodeTask] = []
        """What could not be loaded here."""

    def can(self, task: Task | EncodeTask) -> bool:
        """Whether nothing speaks against a task here."""
        return not any(needs_the_same(task, failed) for failed in self.refused)


class Agenda:
    """Tasks that wait, in order, and what is known of all. Whatever is taken is done, or comes back."""

    def __init__(
        self,
        tasks: Iterable[Task | EncodeTask],
        spec: RunSpec,
        attempts: dict[str, int],
        texts: Texts = no_texts,
    ) -> None:
        self._spec, self._texts = spec, texts
        self._first: deque[Assignment] = deque()
        """What came back, and texts."""
        self._groups: dict[LoadKey, deque[Assignment]] = {}
        """The others, by what is loaded for them."""
        for task in tasks:
            self._groups.setdefault(load_key(task), deque()).append(Assignment(task))
        self.desks: dict[int, Desk] = {}
        """By their numbers."""
        self._encoding: set[str] = set()
        """Keys of texts that were asked for and are not there yet."""
        self._text_costs = TextCosts(spec)
        self._costs = JoinCosts()
        self.attempts = attempts
        """Failed ones by the image's id."""
        self.changes = 0
        """Grows whenever a seat that found nothing may find something."""

    @property
    def waits(self) -> bool:
        """Whether anything does."""
        return bool(self._first) or any(self._groups.values())

    def waiting(self) -> Iterator[Task | EncodeTask]:
        """All that does, in order."""
        return (item.task for item in chain(self._first, *self._groups.values()))

    def sit(self, number: int) -> Desk:
        """Somebody works at a seat from now on."""
        self.desks[number] = Desk(number)
        self.changes += 1
        return self.desks[number]

    def rise(self, desk: Desk) -> None:
        """Nobody works there any more. What the others could not load they may be asked for again."""
        del self.desks[desk.number]
        for other in self.desks.values():
            other.refused.clear()
        self.changes += 1

    # What comes next

    def head(self, desk: Desk, *, alone: bool = False) -> Assignment | None:
        """What comes next at a seat, a text that its image lacks before the image; None: nothing, or not yet.

        ``alone``: nobody else is at work, so that nothing is left to others.
        """
        found = self._find(desk, alone)
        if found is not None and isinstance(found.task, Task):
            lacking = self._texts(self._images_from(found))
            if lacking:
                self._first.extendleft(Assignment(text) for text in reversed(lacking))
                self._encoding.update(text.key for text in lacking)
                self.changes += 1
                found = self._find(desk, alone)
        return found

    def came_back(self, desk: Desk) -> Assignment | None:
        """What comes next at a seat among the images that were taken before; None: nothing, or not yet."""
        return next(
            (item for item in self._first if isinstance(item.task, Task) and self._suits(item, desk)), None
        )

    def take(self, desk: Desk, first: Assignment, admitted: Admitted) -> list[Assignment]:
        """A seat's head, taken, with the images that go into the same call."""
        source = self._source_of(first)
        source.remove(first)
        taken = [first]
        for other in [] if first.alone else self._together(first, source):
            if not admitted(other.task):
                break
            source.remove(other)
            taken.append(other)
        key = load_key(first.task)
        if desk.loaded is None or not isinstance(first.task, EncodeTask) or desk.loaded[:2] != key[:2]:
            desk.loaded = key
        told = {**first.encoded, **self._text_costs.of(images_among(taken))}
        taken[0] = replace(first, encoded=told) if told else first
        return taken

    def _together(self, first: Assignment, source: Collection[Assignment]) -> list[Assignment]:
        """What goes into one call with it."""
        ready: list[Assignment] = []
        for item in source:
            if item.alone or item.step_down or not self._is_ready(item.task):
                break
            ready.append(item)
            if len(ready) >= SEEN:
                break
        return ready[: len(alike(first.task, (item.task for item in ready), self._spec))]

    def _find(self, desk: Desk, alone: bool) -> Assignment | None:
        mine = desk.loaded[:2] if desk.loaded else None
        for item in self._first:
            if session_key(item.task) == mine and self._suits(item, desk):
                return item
        if desk.loaded and (found := self._of_group(desk.loaded, desk)):
            return found
        for item in self._first:
            if self._suits(item, desk):
                return item
        return next((found for key in self._others(desk, alone) if (found := self._of_group(key, desk))), None)

    def _of_group(self, key: LoadKey, desk: Desk) -> Assignment | None:
        """The first of a group that can be done there now."""
        return next((item for item in islice(self._groups.get(key, ()), SEEN) if self._suits(item, desk)), None)

    def _suits(self, item: Assignment, desk: Desk) -> bool:
        # Where a worker died over it another may try: which of the two is bad is known then.
        elsewhere = desk.number in item.died_at and not item.died_at.issuperset(self.desks)
        return not elsewhere and desk.can(item.task) and self._is_ready(item.task)

    def _is_ready(self, task: Task | EncodeTask) -> bool:
        """Whether none of an image's texts is being encoded."""
        if not self._encoding or isinstance(task, EncodeTask):
            return True
        texts = encode_tasks(task, self._spec.models[task.model].family, self._spec.device)
        return self._encoding.isdisjoint(text.key for text in texts)

    def _others(self, desk: Desk, alone: bool) -> Iterator[LoadKey]:
        """Groups that a seat may begin or join, the best first."""
        groups = {key: len(group) for key, group in self._groups.items() if group and key != desk.loaded}
        there = {key: sum(other.loaded == key for other in self.desks.values()) for key in groups}
        yield from (key for key in groups if not there[key])
        served = [key for key in groups if there[key]]
        for key in sorted(served, key=lambda key: groups[key] / there[key], reverse=True):
            if alone or self._costs.pays(key, groups[key], there[key]):
                yield key

    def _images_from(self, found: Assignment) -> Iterator[Task]:
        """The images that wait, those of the same model first, from this one on."""
        yield from (item.task for item in (found,) if isinstance(item.task, Task))
        own = load_key(found.task)
        groups = [self._groups.get(own, ()), *(group for key, group in self._groups.items() if key != own)]
        for item in chain(self._first, *groups):
            if item is not found and isinstance(item.task, Task):
                yield item.task

    def _source_of(self, item: Assignment) -> deque[Assignment]:
        return self._first if item in self._first else self._groups[load_key(item.task)]

    # What became of it

    def done(self, outcome: Outcome) -> None:
        """A worker has told of one, or its receipt has."""
        if outcome.key in self._encoding:
            self._encoding.discard(outcome.key)
            self.changes += 1
        self._text_costs.told(outcome)
        if outcome.receipt is not None:
            self._costs.told(outcome.receipt)
        if outcome.failure is not None:
            self.attempts[outcome.key] = outcome.failure.attempts

    def again(self, items: Iterable[Assignment]) -> None:
        """These come first."""
        self._first.extendleft(reversed(list(items)))
        self.changes += 1

    def nobody_can(self, failed: Task | EncodeTask) -> bool:
        """Whether what could not be loaded for a task could be loaded nowhere."""
        return not any(desk.can(failed) for desk in self.desks.values())

    def leave(self, failed: Task | EncodeTask) -> list[Task | EncodeTask]:
        """Take out whatever waits and needs what could not be loaded for a task."""
        left = [task for task in self.waiting() if needs_the_same(task, failed)]
        for source in (self._first, *self._groups.values()):
            kept = [item for item in source if not needs_the_same(item.task, failed)]
            source.clear()
            source.extend(kept)
        self.changes += 1
        return left


def is_all(tasks: Iterable[Task | EncodeTask], failed: Task | EncodeTask) -> bool:
    """Whether every image among the tasks needs what could not be loaded for one."""
    return all(needs_the_same(task, failed) for task in tasks if isinstance(task, Task))


def needs_the_same(task: Task | EncodeTask, failed: Task | EncodeTask) -> bool:
    """Whether a task needs what could not be loaded for another: without its texts no image can be."""
    if isinstance(failed, EncodeTask):
        return session_key(task) == session_key(failed)
    return isinstance(task, Task) and load_key(task) == load_key(failed)


def key_of(task: Task | EncodeTask) -> str:
    """What an outcome calls a task."""
    return task.id if isinstance(task, Task) else task.key


def images_among(items: Sequence[Assignment]) -> list[Task]:
    """The images of assignments."""
    return [item.task for item in items if isinstance(item.task, Task)]
