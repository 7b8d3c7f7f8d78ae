"""An axis: where a value lies on it, and which round numbers stand beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDE = 20
"""Where the largest value is more than so many times the smallest, small ones would lie on one another: such an
axis is logarithmic."""

_DECADES = 12
"""That a logarithmic axis has at most; what is smaller lies at its end, which says so."""

_ROOM = 1.03
"""Between the outermost values and the frame, where a number may have to stand."""

_SMALLEST, _LARGEST = 1e-6, 1e300  # seconds of somebody else's files may add up to infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From a value to pixels; what lies beyond the ends is put there."""

    ticks: tuple[float, ...]
    log: bool
    low: float
    high: float
    start: float
    """Pixels of ``low``."""
    end: float
    """Pixels of ``high``."""
    beyond: bool = False
    """Some values are smaller than ``low``, and lie there."""

    @property
    def words(self) -> tuple[str, ...]:
        """What stands at each tick."""
        first, *others = (f"{tick:g}" for tick in self.ticks)
        return f"≤ {first}" if self.beyond else first, *others

    def at(self, value: float) -> float:
        """Pixels of a value."""
        value = min(max(value, self.low), self.high)
        part = (value - self.low) / (self.high - self.low)
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)


def scale(values: Iterable[float], start: float, end: float, most: int = 9) -> Scale:
    """From 0, or logarithmic where values are that far apart; ``most`` ticks have room."""
    known = [min(max(value, 0.0), _LARGEST) for value in values]
    largest = max(*known, _SMALLEST, _SMALLEST)
    smallest = max(min(known, default=largest), largest / 10**_DECADES)
    log = largest / smallest > WIDE
    found = _powers(smallest / _ROOM, largest * _ROOM, most) if log else ticks(largest * _ROOM, most)
    beyond = min(known, default=found[0]) < found[0]
    return Scale(ticks=tuple(found), log=log, low=found[0], high=found[-1], start=start, end=end, beyond=beyond)


def ticks(largest: float, most: int = 9) -> list[float]:
    """Round numbers from 0 to at least ``largest``: at most so many, and the last one as near as may be."""
    largest = min(max(largest, _SMALLEST), _LARGEST)
    power = 10.0 ** math.floor(math.log10(largest))
    steps = [factor * power for factor in (2, 1, 0.5, 0.2, 0.1)]
    counts = {step: math.ceil(largest / step * 0.999) for step in steps}
    step = min((step for step in steps if 3 <= counts[step] < most), key=lambda step: step * counts[step])
    return [step * index for index in range(counts[step] + 1)]


def _powers(smallest: float, largest: float, most: int) -> Sequence[float]:
    """1, 2, 5, 10 … around the values, or powers of ten alone, or some of those, where these are too many."""
    first, last = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    for factors, step in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        powers = range(first, last + step, step)
        found = [factor * 10.0**power for power in powers for factor in factors]
        below = [value for value in found if value <= smallest * 1.001]
        above = [value for value in found if value >= largest * 0.999]
        chosen = [value for value in found if below[-1] <= value <= above[0]]
        if len(chosen) <= most:
            break
    return chosen
