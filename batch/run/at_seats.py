"""The seats of a run, what was begun at them, and how they come to the end of what is left."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from batch.plan.alike import load_key, pace_key
from batch.plan.known import WEAKER, ExpectedSeconds, weakest
from batch.run.begun import Begun
from batch.run.schedule import Batch, ModelQueue, SeatTime, schedule

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from batch.plan.estimate import CostGroup
    from batch.plan.known import EstimateSource, Known
    from batch.records.kinds import Stage
    from batch.records.tasks import Task
    from batch.run.begun import Times
    from batch.run.schedule import Scheduled
    from batch.run.speeds import Speeds
    from batch.run.stock import Stock


class Seats:
    """All seats of a run; as long as none is told there is one, number 0."""

    def __init__(self, stock: Stock, speeds: Speeds, now: float) -> None:
        self._stock, self.speeds = stock, speeds
        self._at = {0: Begun(stock, now)}
        self._owners: dict[str, int] = {}
        """Where an image was begun."""
        self.last = 0
        """The seat that told last of an image."""

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Begun]:
        return iter(self._at.values())

    def crew(self, numbers: Iterable[int], now: float) -> bool:
        """These are there from now on; whether that is news. Where none is left, one is judged for."""
        numbers = tuple(numbers) or (0,)
        is_new = self._at.keys() != set(numbers)
        self._at = {number: self._at.get(number) or Begun(self._stock, now) for number in numbers}
        return is_new

    def of(self, seat: int | None) -> list[Begun]:
        """One seat, where it is there; all where None is given."""
        return list(self) if seat is None else [self._at[seat]] if seat in self._at else []

    def hear(self, seat: int, ids: Sequence[str], stage: Stage, now: float) -> bool:
        """An image is at work; whether that is new."""
        begun = self._at.get(seat)
        if begun is None:
            return False
        begun.encodes, self.last = False, seat
        is_new = begun.hear(ids, stage, now)
        if is_new:
            self._owners.update(dict.fromkeys(ids, seat))
        return is_new

    def done(self, key: str, now: float) -> Begun | None:
        """An image is done or has failed; the seat where it was, if that is there."""
        begun = self._at.get(self._owners.pop(key, self.last))
        if begun is not None:
            begun.done(key, now)
        return begun

    @property
    def kinds(self) -> list[tuple[Known, int]]:
        """What is known of each kind of device, and how many seats are of it."""
        seats = Counter(id(self.speeds.at(number)) for number in self._at)
        return [(known, seats[id(known)]) for known in self.speeds.all if id(known) in seats]

    def taken(self) -> tuple[EstimateSource, float | None] | None:
        """What knowing all images rests on, and how many an hour all seats make; None where one is not known."""
        sources, rate, images = [], 0.0, len(self._stock.tasks)
        for known, seats in self.kinds:
            parts = [(group.count, self.speeds.of_kind(known, group.sample)) for group in self._stock.groups]
            found = [ExpectedSeconds(item.value * count, item.source) for count, item in parts if item is not None]
            if len(found) < len(parts):
                return None
            sources.append(weakest(found))
            if seconds := sum(item.value for item in found):
                rate += seats * 3600 * images / seconds
        return max(sources, key=WEAKER.index), rate or None

    @property
    def begun(self) -> list[Task]:
        """What is at work or being saved anywhere."""
        return [task for begun in self for task in begun.tasks]

    def waiting(self) -> Iterable[Task]:
        """Images that were not begun, in their order."""
        begun = {key for item in self for key in (*item.saved, *item.at)}
        return (task for key, task in self._stock.tasks.items() if key not in begun)

    # What is left

    def rest(self, now: float, asked: int, few: int | None = None, within: float = math.inf) -> Scheduled:
        """How long all that is left takes, or so ``few``, and how many of those that wait are done ``within`` it.

        ``asked`` texts are being encoded.
        """
        known = self.speeds.all
        stock, begun = self._stock, self.begun
        if few is not None:
            stock, begun = stock.of(islice(self.waiting(), max(0, few - len(begun)))), []
        free = self._seat_times(known, now, asked)
        queues = self._queues(known, stock, begun)
        return schedule(free, queues, within)

    def _seat_times(self, known: Sequence[Known], now: float, asked: int) -> list[SeatTime]:
        encoding = self._encoding(asked)
        kinds, free = {id(item): number for number, item in enumerate(known)}, []
        times = {id(item): self._times(item) for item in known}
        for number, begun in self._at.items():
            there = id(self.speeds.at(number))
            waited = 0.0 if begun.at_work else max(0.0, now - begun.waited)
            free.append(SeatTime(kinds[there], begun.rest_s(now, times[there]) + encoding, begun.loaded, waited))
        return free

    def _times(self, known: Known) -> Times:
        """What images take at one kind, and what decoding them does: each looked up once."""
        found: dict[Hashable, tuple[float, float] | None] = {}

        def times(task: Task) -> tuple[float, float] | None:
            key = pace_key(task)
            if key not in found:
                takes = self.speeds.of_kind(known, task)
                found[key] = None if takes is None else (takes.value, known.decoding(task))
            return found[key]

        return times

    def _encoding(self, texts: int) -> float:
        """Seconds of so many texts, spread over all seats."""
        task = next(iter(self.waiting()), None) if texts else None
        if task is None:
            return 0.0
        each = [(count, known.text(task)) for known, count in self.kinds]
        return texts / sum(count / text for count, text in each) if all(text for _, text in each) else 0.0

    def _queues(self, known: Sequence[Known], stock: Stock, begun: Sequence[Task]) -> dict[Hashable, ModelQueue]:
        """What waits, with the texts that are encoded on the way."""
        at_work = Counter(map(pace_key, begun))
        texts: Counter[Hashable] = Counter()
        for image, count in stock.texts.items():
            texts[pace_key(stock.tasks[image])] += count
        queues: dict[Hashable, ModelQueue] = {}
        for group in stock.groups:
            key = pace_key(group.sample)
            if (count := group.count - at_work[key]) > 0:
                model = load_key(group.sample)
                queue = queues.get(model) or ModelQueue([item.load(group.sample) for item in known])
                queues[model] = queue
                queue.batches.append(Batch(count, self._seconds(known, group, texts[key] / count)))
        return queues

    def _seconds(self, known: Sequence[Known], group: CostGroup, texts: float) -> list[float]:
        takes = [self.speeds.of_kind(item, group.sample) for item in known]
        encoding = [texts * item.text(group.sample) if texts else 0.0 for item in known]
        return [(found.value if found else 0.0) + more for found, more in zip(takes, encoding, strict=True)]

    def images_s(self) -> dict[int, float]:
        """What the images at work take in all, by seat: where none is, what the next one does."""
        waiting, found = list(islice(self.waiting(), 1)), {}
        times = {id(known): self._times(known) for known in self.speeds.all}
        for number, begun in self._at.items():
            of = times[id(self.speeds.at(number))]
            takes = [of(task) for task in (list(begun.at.values()) if begun.at_work else waiting)]
            if takes and all(item is not None for item in takes):
                found[number] = sum(item[0] for item in takes if item is not None)
        return found
