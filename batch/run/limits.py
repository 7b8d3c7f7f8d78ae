"""When a run stops starting images: the deadline, the number of images, the floor under the free disk.

What is being rendered is always finished and saved: the limits decide what is started.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import disk
from batch.base.errors import DiskLow, LimitReached, UserError
from batch.base.text import duration, gib, plural
from batch.plan.alike import load_key
from batch.plan.estimate import disk_of
from batch.plan.known import EstimateSource, Known
from batch.records.receipts import Outcome
from batch.records.tasks import Task
from batch.run.speeds import Speeds

if TYPE_CHECKING:
    from batch.plan.alike import LoadKey
    from batch.plan.estimate import Estimate
    from batch.records.events import Crew
    from batch.run.speeds import OfSeat
    from batch.store.folder import RunFolder

_MOMENT_S = 5.0
"""Seconds that are nothing to who reads it: a limit that leaves no more, and no image, is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What ends a run before all is rendered. Raises :class:`UserError` for a number that is no limit."""

    until: datetime | None = None
    """An instant: with a time zone."""
    max_hours: float | None = None
    max_images: int | None = None
    since: float | None = None
    """Of a queue: when it began, by ``time.monotonic()``; else the hours count from the run's own start."""
    started: int = 0
    """Of a queue: images that its runs before have begun, without those that nothing came of."""

    def __post_init__(self) -> None:
        if self.max_hours is not None and not (self.max_hours > 0 and math.isfinite(self.max_hours)):
            raise UserError(f"--max-hours {self.max_hours:g}: hours above 0 are meant, for example 7.5")
        if self.max_images is not None and self.max_images < 1:
            raise UserError(f"--max-images {self.max_images}: at least 1 is meant")

    def deadlines(self, passed: float, now: datetime) -> list[tuple[str, float]]:
        """What ends the run by the clock, and in how many seconds, when so many have passed since it began."""
        found: list[tuple[str, float]] = []
        if self.until is not None:
            found.append((f"--until {shown(self.until)}", (self.until - now).total_seconds()))
        if self.max_hours is not None:
            found.append((f"--max-hours {self.max_hours:g}", self.max_hours * 3600 - passed))
        return found


def shown(when: datetime) -> str:
    """A deadline for people, in its own zone."""
    return f"{when:%Y-%m-%d %H:%M}"


class Gate:
    """Decides before each image whether it may be started; learns from those that are done.

    Used by one thread. ``known`` is what images take here, ``of_seat`` what they take on a device of another kind;
    the gate adds what this run's images tell. ``redo`` are ids of images that are done already. The hours of
    ``limits`` count from here on, those of a queue from its own start.
    """

    def __init__(
        self,
        limits: Limits,
        folder: RunFolder,
        to_render: Sequence[Task],
        *,
        min_free_disk: int,
        known: Known | None = None,
        of_seat: OfSeat | None = None,
        redo: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        free: Callable[[Path], int | None] = disk.free,
    ) -> None:
        self._limits = limits
        self._folder = folder
        self._floor = min_free_disk
        self._left = {task.id: task for task in to_render}
        self._redo = frozenset(redo)
        self.speeds = Speeds(known or Known(), of_seat)
        self._labels: dict[int, str] = {}
        """Of the seats, where there are several."""
        self._started: set[str] = set()
        self._loaded: dict[int, LoadKey] = {}
        self._unsaved: dict[str, Task] = {}
        self._clock, self._now, self._free = clock, now, free
        self._begun = clock() if limits.since is None else limits.since

    @property
    def started(self) -> int:
        """Images that this run has begun, without those that nothing came of."""
        return len(self._started - self._unsaved.keys())

    @property
    def known(self) -> Known:
        """What images take here; of their files, what they take anywhere."""
        return self.speeds.first

    def crew(self, crew: Crew) -> None:
        """These seats there are from now on."""
        self.speeds.crew(crew.seats)
        self._labels = {seat.number: seat.label for seat in crew.seats} if len(crew.seats) > 1 else {}
        self._loaded = {seat.number: key for seat in crew.seats if (key := self._loaded.get(seat.number))}

    def admit(self, task: Task, seat: int = 0) -> None:
        """Count an image as started. Raises :class:`LimitReached`, or :class:`DiskLow`, when it may not be.

        A limit by the clock that is reached at one seat says nothing of others, which may be faster. Asked again
        for the same image (its worker has died), it counts once.
        """
        self.check(task, seat)
        self._started.add(task.id)
        self._loaded[seat] = load_key(task)
        self._unsaved[task.id] = task

    def ahead(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """Of images that come next, those that limits would let start, as far as is known. Counts nothing."""
        images = math.inf if self.images_left is None else self.images_left
        deadline = self.deadline()
        seconds = math.inf if deadline is None else deadline[1]
        for task in tasks:
            images -= task.id not in self._started
            if deadline is not None and (takes := self.speeds.together(task)) is not None:
                seconds -= takes
            if images < 0 or seconds < 0:
                return
            yield task

    def check(self, task: Task, seat: int = 0) -> None:
        """As :meth:`admit`, counting nothing: before a model is loaded for it."""
        most = self._limits.max_images
        if task.id not in self._started and most is not None and self._begun_in_all >= most:
            raise LimitReached(f"--max-images {most} is reached", self._rest())
        self._check_time(task, seat)
        room = self._free(self._folder.root)
        if room is None or room >= self._floor + self._waiting(task):
            return
        # Another runner on a shared disk may have made an image: no outcome of it comes here.
        self._unsaved = {key: task for key, task in self._unsaved.items() if not self._folder.is_done(key)}
        if room < self._floor + self._waiting(task):
            kept = f", of which min_free_disk keeps {gib(self._floor)}" if self._floor else ""
            raise DiskLow(f"{gib(room)} are free on the disk of {self._folder.root}{kept}; {self.remedy()}")

    def finished(self, outcome: Outcome) -> None:
        """Learn what an image took. A failed one is no longer waited for, and is left for a later run."""
        self._unsaved.pop(outcome.key, None)
        if outcome.receipt is None:
            return
        self._left.pop(outcome.key, None)
        self.speeds.learn(outcome.receipt)

    def remedy(self) -> str:
        """What to do about a disk that is too small, with about how much the images that are left need."""
        needs = disk_of(self._left.values(), self.known)
        short = needs + self._floor - (self._free(self._folder.root) or 0)
        # Where a quota is what ran out, the disk itself may have room enough.
        more = gib(short if short > 0 else needs)
        whose = f" of shard {self._folder.shard} alone" if self._folder.shard else ""
        return (
            f"what is not saved yet ({plural(len(self._left), 'image')}{whose}) takes about {gib(needs)} in all: "
            f"make room for about {more} and run the same command again"
        )

    def _check_time(self, task: Task, seat: int) -> None:
        if not (deadlines := self._deadlines()):
            return
        takes = self.speeds.image(seat, task)
        if takes is not None and load_key(task) != self._loaded.get(seat):
            takes = replace(takes, value=takes.value + self.speeds.at(seat).load(task))
        for name, left in deadlines:
            # A guess keeps no image from being started: it may be wrong by half.
            late = takes is not None and takes.source != EstimateSource.GUESS and left < takes.value
            if left <= 0 or (late and left < _MOMENT_S):
                raise LimitReached(f"{name} is reached", self._rest())
            if takes is not None and late:
                where = f" on {label}" if (label := self._labels.get(seat)) else ""
                judged = f" {takes.source.phrase}" if takes.source == EstimateSource.EARLIER_RUNS else ""
                raise LimitReached(
                    f"{name} leaves {duration(left)}, and the next image takes about "
                    f"{duration(takes.value)}{where}{judged}",
                    self._rest(),
                )

    def _deadlines(self) -> list[tuple[str, float]]:
        """What ends the run by the clock, and in how many seconds."""
        return self._limits.deadlines(self._clock() - self._begun, self._now())

    def deadline(self) -> tuple[str, float] | None:
        """The option that ends the run first, and in how many seconds; None without one."""
        return min(self._deadlines(), key=lambda item: item[1], default=None)

    @property
    def images_left(self) -> int | None:
        """How many more images may be started; None: any number."""
        most = self._limits.max_images
        return None if most is None else max(0, most - self._begun_in_all)

    @property
    def _begun_in_all(self) -> int:
        """What comes of those at work is not known yet."""
        return len(self._started) + self._limits.started

    def _waiting(self, task: Task) -> int:
        """Bytes that an image to be started, and those started and not saved yet, will take."""
        return disk_of({**self._unsaved, task.id: task}.values(), self.known)

    def _rest(self) -> str:
        left = self._left.keys() - self._unsaved.keys()
        again = len(left & self._redo)
        parts = [] if again == len(left) > 0 else [_are_left(len(left) - again, "image")]
        parts += [f"{_are_left(again, 'finished picture')} to render again"] if again else []
        return ", ".join(parts)


def _are_left(count: int, what: str) -> str:
    return f"{plural(count, what)} {'is' if count == 1 else 'are'} left"


def disk_warning(estimate: Estimate, free: int, min_free_disk: int) -> str:
    """What to tell where the disk is too small for what is to render; empty where it suffices. In bytes."""
    short = estimate.disk_bytes + min_free_disk - free
    if short <= 0 or not estimate.disk_bytes:
        return ""
    return (
        f"the disk is too small: what is to render takes about {gib(estimate.disk_bytes)}, {gib(free)} are free, "
        f"and min_free_disk is {gib(min_free_disk)}. Make room for about {gib(short)}, or the run "
        "will stop on the way, to go on later"
    )
