"""When a run is expected to end, judged anew as it goes on, by what is left and how far the images at work are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from batch.plan.alike import session_key
from batch.plan.known import EstimateSource
from batch.plan.rates import CostPart, place
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Crew,
    Cutoff,
    Encoded,
    Event,
    Expected,
    Happening,
    LeftOut,
    Loading,
)
from batch.records.kinds import RESTS, Stage, Status
from batch.records.receipts import Outcome
from batch.records.spec import Numerics
from batch.run.at_seats import Seats
from batch.run.crew import ALONE
from batch.run.stock import Stock

if TYPE_CHECKING:
    from batch.records.events import Seat
    from batch.records.tasks import Task
    from batch.run.limits import Gate

OFTEN_S = 1.0
"""While it loads and encodes: an end that is told more often is read by nobody."""

SHARE = 0.02
"""Of the time is the most that judging may take."""

FEW = 3
"""Images of a run that tell nothing of the rate yet: the first one is slow."""

_AT_WORK = {Stage.DENOISE, Stage.DECODE, Stage.RENDER}


class Pace:
    """Told every event of a run in its order, it answers with an :class:`Expected` where there is news.

    What is left is worked off by all seats at once, each at the speed of its kind of device. ``texts`` are to be
    encoded for images, by their ids. Which of them come next, a portion or all of a model's, is told before they
    are encoded; the others lie before the images that they are for. A run that ``measures`` starts a process every
    few images, so that what its images took alone says little: there the time so far counts.
    """

    def __init__(
        self,
        to_render: Iterable[Task],
        gate: Gate,
        texts: Mapping[str, int] | None = None,
        recycle_after: int | None = None,
        measures: bool = False,
        crew: Sequence[Seat] = ALONE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stock = Stock(to_render, texts or {})
        self._left = self._stock.tasks
        self._paused = False
        self._asked = 0
        """Texts of the portions that are being encoded, without those that are."""
        self._gate, self._speeds = gate, gate.speeds
        self._most = gate.images_left
        self._recycle_after, self._measures = recycle_after, measures
        self._clock = clock
        self._began = self._told = clock()
        self._seats = Seats(self._stock, self._speeds, self._began)
        self._kinds: dict[int, str] = {}
        """Of devices, by the numbers of their seats."""
        self._sit(crew, self._began)
        self._untold = not crew
        self._cost = 0.0
        self._encoded, self._encoding = (0, self._began), False
        self._count = 0
        """Images that are done or have failed."""
        self._finished = 0
        """Images of the plan that are done."""

    def after(self, event: Event) -> Expected | None:
        """What is expected now; None where an event changes nothing, or little since the last time."""
        now = self._clock()
        if not self._hear(event, now) or (self._left and now - self._told < self._hush(event)):
            return None
        expected = self._expected(now)
        self._told = self._clock()
        self._cost = self._told - now
        return expected

    def _hear(self, event: Event, now: float) -> bool:
        """Learn from an event; whether an end may be told anew."""
        match event:
            case Began(done=done):
                self._began = now
                self._wait(now)
                self._finished = done
            case Crew(seats):
                was_untold, self._untold = self._untold, False
                return self._sit(seats, now) or was_untold
            case Loading():
                self._ask(event, now)
            case Encoded(text, texts):
                self._asked = texts - text
                self._text_done(text, now)
            case Beat():
                self._beat(event, now)
                return False
            case Happening(kind=kind, seat=seat) if kind.unloads:
                self._afresh(now, seat)
                self._paused = RESTS.get(kind, self._paused)
                return kind in RESTS
            case Closed():  # what the next run would need, judged as `plan` will
                self._afresh(now, saved=True)
                self._paused, self._speeds = False, self._speeds.afresh()
                self._seats.speeds = self._speeds
            case LeftOut(count):
                self._leave(count)
            case Outcome():
                self._done(event, now)
            case _:
                return False
        return True

    def _hush(self, event: Event) -> float:
        """So long nothing new is told after something was."""
        if isinstance(event, Closed | Happening | Crew):
            return 0.0
        return max(OFTEN_S if isinstance(event, Loading | Encoded) else 0.0, self._cost / SHARE)

    # What happens

    def _sit(self, seats: Iterable[Seat], now: float) -> bool:
        """These are there from now on; whether that is news."""
        before, self._kinds = self._kinds, {seat.number: seat.kind for seat in seats}
        self._seats.crew(self._kinds, now)
        return self._kinds != before

    def _ask(self, portion: Loading, now: float) -> None:
        """Texts of another portion; at one seat the last one is done then."""
        is_more = len(self._seats) > 1 and self._asked > 0
        if not is_more:
            self._encoded, self._encoding = (0, now), False
        if not is_more and not portion.loaded:
            self._wait(now)
        self._asked = portion.texts + (self._asked if is_more else 0)
        if (task := self._next) is not None:
            self._stock.asked(session_key(task), portion.texts)

    def _beat(self, beat: Beat, now: float) -> None:
        if beat.stage == Stage.ENCODE:
            for begun in self._seats.of(beat.seat):
                begun.encodes = True
        elif beat.stage in _AT_WORK and self._seats.hear(beat.seat, beat.ids, beat.stage, now):
            self._encoding = False

    def _wait(self, now: float) -> None:
        for begun in self._seats:
            begun.waited = now

    def _text_done(self, text: int, now: float) -> None:
        (before, then), going_on = self._encoded, self._encoding
        self._encoded, self._encoding = (text, now), True
        task = self._next
        if going_on and task is not None and text > before:  # the first of them waits for its encoder
            encoders = [begun for begun in self._seats if begun.encodes]
            each = (now - then) / (text - before) * max(1, len(encoders))
            for known in self._speeds.all:
                family, kind = place(CostPart.ENCODE, task, known.setting(task), Numerics())
                known.mine.put(family, kind, each)
            for begun in encoders or self._seats:
                begun.waited += now - then  # encoding is no loading

    def _afresh(self, now: float, seat: int | None = None, *, saved: bool = False) -> None:
        for begun in self._seats.of(seat):
            begun.forget(now, saved=saved)

    def _leave(self, count: int) -> None:
        """Images of a measurement that will not be tried; which ones does not matter there."""
        for key in list(self._left)[:count] if self._measures else []:
            self._stock.take(key)

    def _done(self, outcome: Outcome, now: float) -> None:
        begun = self._seats.done(outcome.key, now)
        self._stock.take(outcome.key)
        self._count += 1
        self._finished += outcome.status == Status.DONE
        if begun is not None and not begun.at_work:
            begun.waited = now

    # What is expected

    @property
    def _next(self) -> Task | None:
        """The first image that was not begun."""
        return next(iter(self._seats.waiting()), None)

    def _expected(self, now: float) -> Expected:
        found = self._judged(now)
        cutoff = self._cutoff(found, now) if self._left else None
        images_s = self._seats.images_s()
        return replace(found, image_s=images_s.get(self._seats.last), images_s=images_s, cutoff=cutoff)

    def _judged(self, now: float) -> Expected:
        """What all that is left takes."""
        if not self._left:
            return Expected(seconds=0.0)
        if self._measures and self._count:
            each = (now - self._began) / self._count
            rate = 3600 / each if each else None
            return Expected(seconds=each * len(self._left), source="as this run went so far", per_hour=rate)
        if self._untold or (taken := self._seats.taken()) is None:
            return Expected(seconds=None)
        source, rate = taken
        guessed = source == EstimateSource.GUESS
        return Expected(
            seconds=self._rest(now),
            source=source.phrase,
            guessed=guessed,
            per_hour=rate if self._count >= FEW and not guessed else None,
        )

    def _rest(self, now: float, few: int | None = None) -> float:
        """Of all that is left, or of so few images, without what is over of them."""
        last = next(islice(self._left.values(), few - 1, None)) if few else next(reversed(self._left.values()))
        taken = self._seats.rest(now, self._asked, few).seconds
        return taken + self._recycling(few) + self._speeds.all[0].saving(last)

    def _recycling(self, few: int | None) -> float:
        """Loading again, which each seat does for its own share."""
        if not self._recycle_after:
            return 0.0
        stock = self._stock if few is None else self._stock.of(islice(self._left.values(), few))
        shares = [(group.sample, math.ceil(group.count / len(self._seats))) for group in stock.loads.values()]
        again = [(task, max(0, share - 1) // self._recycle_after) for task, share in shares]
        return sum(self._speeds.all[0].load(task) * count for task, count in again if count)

    # Where it is cut off

    def _cutoff(self, found: Expected, now: float) -> Cutoff | None:
        """The limit that comes first; None where all is done before. In a pause the clock goes on."""
        cutoffs = [self._by_number(found, now), self._by_clock(found, now)]
        return min(
            (item for item in cutoffs if item is not None),
            key=lambda item: math.inf if item.seconds is None else item.seconds,
            default=None,
        )

    def _by_number(self, found: Expected, now: float) -> Cutoff | None:
        if self._most is None or (few := max(0, self._most - self._count)) >= len(self._left):
            return None
        if found.seconds is None:
            seconds = None
        elif self._measures:
            seconds = found.seconds * few / len(self._left)
        else:
            seconds = self._rest(now, few) if few else 0.0
        return Cutoff(limit="--max-images", seconds=seconds, images=self._finished + few, clock=False)

    def _by_clock(self, found: Expected, now: float) -> Cutoff | None:
        deadline = self._gate.deadline()
        if deadline is None:
            return None
        limit, seconds = deadline[0], max(0.0, deadline[1])
        if found.seconds is None or self._paused:
            return Cutoff(limit=limit, seconds=seconds)
        if found.seconds <= seconds:
            return None
        if self._measures:
            more = int(len(self._left) * seconds / found.seconds)
        else:  # what was begun is finished
            more = len(self._seats.begun) + self._seats.rest(now, self._asked, within=seconds).count
        return Cutoff(limit=limit, seconds=seconds, images=self._finished + more)
