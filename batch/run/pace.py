"""When a run is expected to end, judged anew as it goes on, by what is left and how far the image at work is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batch.plan.alike import load_key, pace_key, session_key
from batch.plan.estimate import encoding, seconds_of
from batch.plan.known import EstimateSource
from batch.plan.rates import CostPart, Rates, place
from batch.records.events import (
    Beat,
    Began,
    Closed,
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
from batch.run.begun import Begun
from batch.run.stock import Stock

if TYPE_CHECKING:
    from batch.plan.alike import LoadKey
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

    ``texts`` are to be encoded for images, by their ids. Which of them come next, a portion or all of a model's,
    is told before they are encoded; the others lie before the images that they are for. A run that ``measures``
    starts a process every few images, so that what its images took alone says little: there the time so far
    counts.
    """

    def __init__(
        self,
        to_render: Iterable[Task],
        gate: Gate,
        texts: Mapping[str, int] | None = None,
        recycle_after: int | None = None,
        measures: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stock = Stock(to_render, texts or {})
        self._left = self._stock.tasks
        self._begun = Begun(self._stock)
        self._paused = False
        self._asked = 0
        """Texts of the portion that is being encoded, without those that are."""
        self._gate, self._known = gate, gate.known
        self._most = gate.images_left
        self._recycle_after, self._measures = recycle_after, measures
        self._clock = clock
        self._began = self._told = self._waited = clock()
        self._cost = 0.0
        self._loaded: LoadKey | None = None
        self._encoded, self._encoding = (0, self._began), False
        self._count = 0
        """Images that are done or have failed."""
        self._finished = 0
        """Images of the plan that are done."""

    def after(self, event: Event) -> Expected | None:
        """What is expected now; None where an event changes nothing, or little since the last time."""
        now = self._clock()
        match event:
            case Began(done=done):
                self._began = self._waited = now
                self._finished = done
            case Loading(texts):
                self._waited, self._encoded, self._encoding = now, (0, now), False
                self._ask(texts)
            case Encoded(text, texts):
                self._asked = texts - text
                self._text_done(text, now)
            case Beat(stage=stage, ids=ids) if stage in _AT_WORK:
                self._is_at(ids, stage, now)
                return None
            case Happening(kind=kind) if kind.unloads:
                self._afresh(now)
                if kind not in RESTS:
                    return None
                self._paused = RESTS[kind]
            case Closed():  # what the next run would need, judged as `plan` will
                self._afresh(now, saved=True)
                self._paused, self._known = False, replace(self._known, mine=Rates())
            case LeftOut(count):
                self._leave(count)
            case Outcome():
                self._done(event, now)
            case _:
                return None
        if self._left and now - self._told < self._hush(event):
            return None
        expected = self._expected(now)
        self._told = self._clock()
        self._cost = self._told - now
        return expected

    def _hush(self, event: Event) -> float:
        """So long nothing new is told after something was."""
        if isinstance(event, Closed | Happening):
            return 0.0
        return max(OFTEN_S if isinstance(event, Loading | Encoded) else 0.0, self._cost / SHARE)

    # What happens

    def _ask(self, texts: int) -> None:
        self._asked, task = texts, self._next
        if task is not None:
            self._stock.asked(session_key(task), texts)

    def _text_done(self, text: int, now: float) -> None:
        (before, then), going_on = self._encoded, self._encoding
        self._encoded, self._encoding = (text, now), True
        task = self._next
        if going_on and task is not None and text > before:  # the first of them waits for its encoder
            family, kind = place(CostPart.ENCODE, task, self._known.setting(task), Numerics())
            self._known.mine.put(family, kind, (now - then) / (text - before))
            self._waited += now - then  # encoding is no loading

    def _is_at(self, ids: Sequence[str], stage: Stage, now: float) -> None:
        if self._begun.hear(ids, stage, now):
            self._loaded, self._encoding = load_key(self._begun.at_work[0]), False

    def _afresh(self, now: float, *, saved: bool = False) -> None:
        self._loaded, self._waited = None, now
        self._begun.forget(saved=saved)

    def _leave(self, count: int) -> None:
        """Images of a measurement that will not be tried; which ones does not matter there."""
        for key in list(self._left)[:count] if self._measures else []:
            self._stock.take(key)

    def _done(self, outcome: Outcome, now: float) -> None:
        self._begun.done(outcome.key, now)
        self._stock.take(outcome.key)
        self._count += 1
        self._finished += outcome.status == Status.DONE
        if not self._begun.at_work:
            self._waited = now

    # What is expected

    @property
    def _next(self) -> Task | None:
        """The first image that was not begun."""
        return next(iter(self._begun.waiting()), None)

    def _expected(self, now: float) -> Expected:
        found = self._judged(now)
        cutoff = self._cutoff(found, now) if self._left else None
        return replace(found, image_s=self._image_s(), cutoff=cutoff)

    def _judged(self, now: float) -> Expected:
        """What all that is left takes."""
        if not self._left:
            return Expected(seconds=0.0)
        if self._measures and self._count:
            each = (now - self._began) / self._count
            rate = 3600 / each if each else None
            return Expected(seconds=each * len(self._left), source="as this run went so far", per_hour=rate)
        taken = seconds_of(self._stock.groups, self._known)
        if taken is None:
            return Expected(seconds=None)
        guessed = taken.source == EstimateSource.GUESS
        rate = 3600 * len(self._left) / taken.value if self._count >= FEW and taken.value and not guessed else None
        return Expected(
            seconds=self._rest(self._stock, now), source=taken.source.phrase, guessed=guessed, per_hour=rate
        )

    def _rest(self, stock: Stock, now: float) -> float:
        """Of these images without what is over of them; they are the first of those that are left."""
        taken = sum(group.count * self._each(group.sample) for group in stock.groups)
        last = next(reversed(stock.tasks.values()))
        return max(0.0, taken - self._over(now)) + self._before(stock, now) + self._known.saving(last)

    def _over(self, now: float) -> float:
        return self._begun.over(now, self._known, self._each)

    def _before(self, stock: Stock, now: float) -> float:
        """Loading and encoding that are still to come."""
        loading = sum(self._load(key, group.sample, now) for key, group in stock.loads.items())
        needing = [stock.tasks[key] for key in stock.texts]
        texts = self._being_encoded() + encoding(needing, self._known, stock.texts)
        return loading + texts + self._recycling(stock)

    def _being_encoded(self) -> float:
        task = self._next if self._asked else None
        return 0.0 if task is None else self._asked * self._known.text(task)

    def _load(self, key: LoadKey, task: Task, now: float) -> float:
        """The first model is being loaded while no image is at work."""
        if key == self._loaded:
            return 0.0
        is_first = not self._begun.at_work and key == load_key(next(iter(self._left.values())))
        return max(0.0, self._known.load(task) - (now - self._waited if is_first else 0.0))

    def _recycling(self, stock: Stock) -> float:
        if not self._recycle_after:
            return 0.0
        again = [(group.sample, max(0, group.count - 1) // self._recycle_after) for group in stock.loads.values()]
        return sum(self._known.load(task) * count for task, count in again if count)

    def _each(self, task: Task) -> float:
        found = self._known.image(task)
        return found.value if found else 0.0

    def _image_s(self) -> float | None:
        waiting = [self._next] if self._next else []
        at = list(self._begun.at.values()) if self._begun.at_work else waiting
        found = [self._known.image(task) for task in at]
        known = [item.value for item in found if item is not None]
        return sum(known) if known and len(known) == len(found) else None

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
            seconds = self._rest(self._stock.first(few), now) if few else 0.0
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
        more = len(self._left) * seconds / found.seconds if self._measures else self._done_within(seconds, now)
        return Cutoff(limit=limit, seconds=seconds, images=self._finished + int(more))

    def _done_within(self, seconds: float, now: float) -> int:
        """Images, in their order, with the models that are loaded and the texts that are encoded for them.

        What was begun is finished.
        """
        left, texts = seconds + self._over(now) - self._being_encoded(), self._stock.texts
        loaded: set[LoadKey] = set()
        of_text = {session_key(group.sample): self._known.text(group.sample) for group in self._stock.groups}
        each = {pace_key(group.sample): self._each(group.sample) for group in self._stock.groups}
        for count, task in enumerate(self._left.values()):
            if (key := load_key(task)) not in loaded:
                loaded.add(key)
                left -= self._load(key, task, now)
            left -= each[pace_key(task)] + texts.get(task.id, 0) * of_text[session_key(task)]
            if left < 0:
                return max(count, self._begun.count)
        return len(self._left)
