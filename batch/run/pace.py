"""When a run is expected to end, judged anew as it goes on, by what is left and how far the image at work is."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from batch.plan.alike import load_key, pace_key, session_key
from batch.plan.estimate import CostGroup, seconds_of
from batch.plan.known import EstimateSource
from batch.plan.rates import CostPart, place
from batch.records.events import Beat, Began, Encoded, Event, Expected, Happening, LeftOut, Loading
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Outcome
from batch.records.spec import Numerics

if TYPE_CHECKING:
    from batch.plan.alike import LoadKey, SessionKey
    from batch.plan.known import ExpectedSeconds
    from batch.records.tasks import Task
    from batch.run.limits import Gate

OFTEN_S = 1.0
"""While it loads and encodes: an end that is told more often is read by nobody."""

SHARE = 0.02
"""Of the time is the most that judging may take."""

OF_LATE = 20
"""Images that the rate is of."""

_AFRESH = {
    HappeningKind.WORKER_DIED, HappeningKind.STALLED, HappeningKind.LOAD_FAILED, HappeningKind.RECYCLED,
    HappeningKind.PAUSED, HappeningKind.RESUMED,
}  # fmt: skip
"""After these a model is loaded that was."""

_AT_WORK = {Stage.DENOISE, Stage.DECODE, Stage.RENDER}

_BATCH = re.compile(r"(.+) and (\d+) more", re.DOTALL)
"""What a worker calls a batch."""


class Pace:
    """Told every event of a run in its order, it answers with an :class:`Expected` where there is news.

    ``texts`` are to be encoded for each session. A run that ``measures`` starts a process every few images, so
    that what its images took alone says little: there the time so far counts.
    """

    def __init__(
        self,
        to_render: Iterable[Task],
        gate: Gate,
        texts: Mapping[SessionKey, int] | None = None,
        recycle_after: int | None = None,
        measures: bool = False,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        tasks = islice(to_render, gate.images_left)
        self._left = {task.id: task for task in tasks}
        self._names = {task.name: task.id for task in self._left.values()}
        self._groups: dict[Hashable, CostGroup] = {}
        self._loads: dict[LoadKey, CostGroup] = {}
        for task in self._left.values():
            self._groups.setdefault(pace_key(task), CostGroup(task)).count += 1
            self._loads.setdefault(load_key(task), CostGroup(task)).count += 1
        self._texts = dict(texts or {})
        self._gate, self._known = gate, gate.known
        self._recycle_after, self._measures = recycle_after, measures
        self._clock = clock
        self._began = self._told = self._since = self._waited = clock()
        self._cost = 0.0
        self._loaded: LoadKey | None = None
        self._encoded, self._encoding = (0, self._began), False
        self._at: tuple[str, ...] = ()
        """Ids of the images at work."""
        self._rendered: set[str] = set()
        """Ids of those that are being saved."""
        self._count = 0
        self._ends: deque[float] = deque(maxlen=OF_LATE)

    def after(self, event: Event) -> Expected | None:
        """What is expected now; None where an event changes nothing, or little since the last time."""
        now = self._clock()
        match event:
            case Began():
                self._began = self._waited = now
            case Loading():
                self._waited, self._encoded, self._encoding = now, (0, now), False
            case Encoded(text, _):
                self._text_done(text, now)
            case Beat(name, stage) if stage in _AT_WORK:
                self._is_at(name, now)
                return None
            case Happening(kind=kind) if kind in _AFRESH:
                self._afresh(now)
                return None
            case LeftOut(count):
                self._leave(count)
            case Outcome():
                self._done(event, now)
            case _:
                return None
        often = OFTEN_S if isinstance(event, Loading | Encoded) else 0.0
        if self._left and now - self._told < max(often, self._cost / SHARE):
            return None
        expected = self._expected(now)
        self._told = self._clock()
        self._cost = self._told - now
        return expected

    # What happens

    def _text_done(self, text: int, now: float) -> None:
        (before, then), going_on = self._encoded, self._encoding
        self._encoded, self._encoding = (text, now), True
        task = next(iter(self._waiting()), None)
        if task is None or text <= before:
            return
        key = session_key(task)
        self._texts[key] = max(0, self._texts.get(key, 0) - (text - before))
        if going_on:  # the first of them waits for its encoder
            family, kind = place(CostPart.ENCODE, task, self._known.setting(task), Numerics())
            self._known.mine.put(family, kind, (now - then) / (text - before))
            self._waited += now - then  # encoding is no loading

    def _is_at(self, name: str, now: float) -> None:
        ids = self._called(name)
        if not ids or ids == self._at:
            return
        self._rendered.update(key for key in self._at if key in self._left)
        self._at, self._since, self._encoding = ids, now, False
        self._loaded = load_key(self._left[ids[0]])

    def _called(self, name: str) -> tuple[str, ...]:
        """Ids of the images that a worker calls that."""
        more = _BATCH.fullmatch(name)
        first = self._names.get(name) or self._names.get(more[1] if more else "")
        if first is None or first not in self._left:
            return ()
        if first in self._at:
            return self._at
        others = (task.id for task in self._waiting() if task.id != first)
        return (first, *islice(others, int(more[2]) if more and name not in self._names else 0))

    def _waiting(self) -> Iterable[Task]:
        """Images that were not begun, in their order."""
        begun = self._rendered.union(self._at)
        return (task for key, task in self._left.items() if key not in begun)

    def _afresh(self, now: float) -> None:
        self._loaded, self._at, self._waited = None, (), now
        self._ends.clear()

    def _leave(self, count: int) -> None:
        """Images of a measurement that will not be tried; which ones does not matter there."""
        for key in list(self._left)[:count] if self._measures else []:
            self._take(key)

    def _done(self, outcome: Outcome, now: float) -> None:
        self._take(outcome.key)
        self._count += 1
        if self._is_between:
            self._waited = now
        if outcome.receipt is not None:
            self._ends.append(now)

    def _take(self, key: str) -> None:
        task = self._left.pop(key, None)
        self._rendered.discard(key)
        if task is not None:
            self._groups[pace_key(task)].count -= 1
            self._loads[load_key(task)].count -= 1

    # What is expected

    def _expected(self, now: float) -> Expected:
        taken = seconds_of([group for group in self._groups.values() if group.count], self._known)
        seconds, source = (None, "") if taken is None else (self._rest(taken, now), taken.source.phrase)
        guessed = bool(self._left) and taken is not None and taken.source == EstimateSource.GUESS
        if not self._left:
            seconds, source = 0.0, ""
        if self._measures and self._count:
            seconds, source = (now - self._began) / self._count * len(self._left), "as this run went so far"
            guessed = False
        deadline = self._gate.deadline()
        if deadline is not None and seconds is not None and seconds > deadline[1]:
            seconds, source, guessed = max(0.0, deadline[1]), f"{deadline[0]} ends it", False
        return Expected(
            seconds=seconds, source=source, guessed=guessed, image_s=self._image_s(), per_hour=self._per_hour()
        )

    def _rest(self, taken: ExpectedSeconds, now: float) -> float:
        """Of all that is left without what is over: the images that are being saved, a part of those at work."""
        over = sum(self._seconds(key) for key in self._rendered)
        at = [key for key in self._at if key in self._left]
        over += min(now - self._since, sum(map(self._seconds, at)))
        last = next(reversed(self._left.values()))
        return max(0.0, taken.value - over) + self._before(now) + self._known.saving(last)

    def _before(self, now: float) -> float:
        """Loading and encoding that are still to come."""
        left = {key: group.sample for key, group in self._loads.items() if group.count}
        loading = [self._known.load(task) for key, task in left.items() if key != self._loaded]
        # The first of them is being loaded while no image is at work.
        if loading and next(iter(left)) != self._loaded and self._is_between:
            loading[0] = max(0.0, loading[0] - (now - self._waited))
        samples = {session_key(task): task for task in left.values()}
        encoding = sum(self._known.text(task) * self._texts.get(key, 0) for key, task in samples.items())
        return sum(loading) + encoding + self._recycling(left)

    @property
    def _is_between(self) -> bool:
        """Whether no image is at work."""
        return not any(key in self._left for key in self._at)

    def _recycling(self, left: Mapping[LoadKey, Task]) -> float:
        if not self._recycle_after:
            return 0.0
        again = {key: max(0, self._loads[key].count - 1) // self._recycle_after for key in left}
        return sum(self._known.load(left[key]) * count for key, count in again.items() if count)

    def _seconds(self, key: str) -> float:
        found = self._known.image(self._left[key])
        return found.value if found else 0.0

    def _image_s(self) -> float | None:
        at = [self._left[key] for key in self._at if key in self._left] or list(islice(self._waiting(), 1))
        found = [self._known.image(task) for task in at]
        known = [item.value for item in found if item is not None]
        return sum(known) if known and len(known) == len(found) else None

    def _per_hour(self) -> float | None:
        if len(self._ends) < 2 or self._ends[-1] <= self._ends[0]:
            return None
        return 3600 * (len(self._ends) - 1) / (self._ends[-1] - self._ends[0])
