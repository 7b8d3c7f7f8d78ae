"""When images that several seats pull from one queue are done: a list schedule over those that take as long. Pure.

A seat takes images for which nothing has to be loaded there as long as there are any, then the first that wait.
The last image of all cannot be shared: the end is when the last seat ends.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace

_LEAST_S = 1e-9
"""No image takes less."""


@dataclass(slots=True)
class Batch:
    """Images that take as long."""

    count: int
    seconds: Sequence[float]
    """Of one, by the kind of device."""


@dataclass(slots=True)
class ModelQueue:
    """Images for which one model is loaded, in their order."""

    load_s: Sequence[float]
    """By the kind of device."""
    batches: list[Batch] = field(default_factory=list)


@dataclass(slots=True)
class SeatTime:
    """A seat: when it is free, and for what. It changes as it is planned for."""

    kind: int
    free: float
    """Seconds from now until it takes another image."""
    loaded: Hashable = None
    """The key of the queue whose model is there."""
    waited: float = 0.0
    """So much of the first load is over."""

    def load_s(self, key: Hashable, queue: ModelQueue) -> float:
        """What it loads before its next image of a queue."""
        return 0.0 if key == self.loaded else max(0.0, queue.load_s[self.kind] - self.waited)

    def take(self, key: Hashable, until: float) -> None:
        """Render of a queue."""
        self.loaded, self.waited, self.free = key, 0.0, until


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What came of it."""

    seconds: float
    """Until the last seat is done."""
    count: int
    """Images that are."""


def schedule(
    seats: Sequence[SeatTime], queues: Mapping[Hashable, ModelQueue], within: float = math.inf
) -> Scheduled:
    """Plan all images; ``within`` so many seconds, a seat begins none that would not be done. Uses up both."""
    count, tried = 0, None
    left = {key: queue for key, queue in queues.items() if _tidied(queue)}
    heap = [(seat.free, number) for number, seat in enumerate(seats)]
    heapify(heap)
    while heap and left:
        free, number = heap[0]
        seat = seats[number]
        key = seat.loaded if seat.loaded in left else next(iter(left))
        queue = left[key]
        batch = queue.batches[0]
        if batch is not tried and batch.count > 2 * len(heap):
            tried, there = batch, [seats[other] for _, other in heap]
            if all(other.loaded == key or other.loaded not in left for other in there) and key == next(iter(left)):
                count += _at_once(there, key, queue, within)
                heap = [(seats[other].free, other) for _, other in heap]
                heapify(heap)
                continue
        end = free + seat.load_s(key, queue) + batch.seconds[seat.kind]
        if end > within:
            heappop(heap)
            continue
        seat.take(key, end)
        heapreplace(heap, (end, number))
        count, batch.count = count + 1, batch.count - 1
        if not _tidied(queue):
            del left[key]
            tried = None
    return Scheduled(max(seat.free for seat in seats), count)


def _tidied(queue: ModelQueue) -> bool:
    """Whether there is anything left of it; what is used up is not there any more."""
    while queue.batches and not queue.batches[0].count:
        queue.batches.pop(0)
    return bool(queue.batches)


def _at_once(seats: Sequence[SeatTime], key: Hashable, queue: ModelQueue, within: float) -> int:
    """Plan most of the first images, as they would be one by one: those begun before some time. How many.

    All seats take them, and nothing else.
    """
    batch = queue.batches[0]
    begins = [
        (seat.free + seat.load_s(key, queue), max(_LEAST_S, batch.seconds[seat.kind]), seat) for seat in seats
    ]
    begins.sort(key=lambda item: item[0])
    rate = work = 0.0
    images = batch.count - len(seats)  # each seat may be at one more
    for begin, each, _ in begins:
        if rate and (images + work) / rate <= begin:
            break
        rate, work = rate + 1 / each, work + begin / each
    until, planned = min(within, (images + work) / rate), 0
    for begin, each, seat in begins:
        if (more := math.floor((until - begin) / each)) > 0:
            seat.take(key, begin + more * each)
            planned += more
    batch.count -= planned
    return planned
