"""Whether a run becomes slower, or takes more memory, than it did before. Pure.

Images are compared with those that should cost the same: same model, size, steps, memory setting and so on.
The median of the last ten (the lower one of the two in the middle: what was measured, not a mean of before
and after) stands against that of the run's images before them, their memory against that of its first ten. The
first image after a load and images decoded twice are left out; loading, encoding and saving do not count.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from batch.base.text import duration
from batch.plan.alike import cost_key
from batch.records.events import Happening
from batch.records.kinds import HappeningKind
from batch.records.reading import to_json
from batch.records.receipts import CardState, Measurement, Receipt

WINDOW = 10
"""Images that are compared, at either end."""

BEFORE = 1000
"""Images that the last ones are compared with."""

SLOWER, MIN_SECONDS = 1.5, 2.0
"""So many times the time of those before, and so many seconds more: less is a browser opened meanwhile."""

LARGER, MIN_BYTES = 1.2, 256 * 2**20
"""The same of memory."""

AGAIN = 2.0
"""Memory is told again when it has grown by this factor since; that it is slower once until it has recovered."""


LATELY = timedelta(minutes=15)
"""While images of one kind are slower, nothing is told of those of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    at: datetime
    """When it was done, by the local clock."""
    seconds: float
    memory: int | None
    memory_kind: str
    card: CardState | None


@dataclass(slots=True)
class _Watch:
    """One quantity against its value at first; remembers what has been told."""

    factor: float
    least: float
    again: float
    told: float | None = None

    def tells(self, now: float, first: float) -> bool:
        """Whether it is news. It is over when half of the allowed excess is left: no flapping."""
        allowed = max((self.factor - 1) * first, self.least)
        if now <= first + allowed / 2:
            self.told = None
        if now <= first + allowed or (self.told is not None and now < self.told * self.again):
            return False
        self.told = now
        return True


@dataclass(slots=True)
class _Series:
    """The images of one kind."""

    first: list[_Image] = field(default_factory=list)
    before: deque[_Image] = field(default_factory=lambda: deque(maxlen=BEFORE))
    """Without the last ones, and without those since it is slower."""
    last: deque[_Image] = field(default_factory=lambda: deque(maxlen=WINDOW))
    time: _Watch = field(default_factory=lambda: _Watch(SLOWER, MIN_SECONDS, math.inf))
    memory: _Watch = field(default_factory=lambda: _Watch(LARGER, MIN_BYTES, AGAIN))

    def add(self, image: _Image) -> None:
        if len(self.last) == WINDOW and self.time.told is None:
            self.before.append(self.last[0])
        self.last.append(image)
        if len(self.first) < WINDOW:
            self.first.append(image)

    @property
    def seconds(self) -> tuple[float, float]:
        """Medians of the last images and of those before them; of few, of the first ones."""
        before = self.before if len(self.before) >= WINDOW else self.first
        now, then = (statistics.median_low(item.seconds for item in images) for images in (self.last, before))
        return now, then

    def memory_at_first(self, kind: str) -> int | None:
        """Median of the first images, of one kind of memory."""
        values = [item.memory for item in self.first if item.memory is not None and item.memory_kind == kind]
        return statistics.median_low(values) if values else None


class Drift:
    """Is fed the receipts of a run in order; says when it has become slower or larger."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now().astimezone()) -> None:
        self._series: dict[Hashable, _Series] = {}
        self._clock = clock

    def seen(self, receipt: Receipt) -> list[Happening]:
        """Take in one receipt. What comes back has the kinds ``slower`` and ``memory-growth``."""
        image = _image(receipt.measurement, self._clock())
        if receipt.measurement.warmup or receipt.repaired or image is None:
            return []
        series = self._series.setdefault(cost_key(receipt), _Series())
        series.add(image)
        # The allocator keeps the blocks of a larger size: what another kind needed at first is no growth.
        at_first = [other.memory_at_first(image.memory_kind) or 0 for other in self._series.values()]
        since = image.at - LATELY
        others = (other.last[-1].at > since for other in self._series.values() if other.time.told)
        found = (_slower(series, receipt, known=any(others)), _larger(series, max(at_first), receipt))
        return [item for item in found if item is not None]


def _image(cost: Measurement, at: datetime) -> _Image | None:
    stages = [stage for stage in (cost.denoise, cost.decode, cost.whole) if stage is not None]
    if not stages:
        return None
    # With a card the host's memory is another matter: what is offloaded there comes and goes.
    names = {"reserved": "reserved", "device": "device", "resident": "rss"}
    values = {kind: [getattr(stage, name) for stage in stages] for kind, name in names.items()}
    known = {kind: [value for value in found if value is not None] for kind, found in values.items()}
    peaks = {kind: max(found, default=None) for kind, found in known.items()}
    kind = next((kind for kind, value in peaks.items() if value is not None), "")
    seconds = sum(stage.seconds for stage in stages)
    return _Image(at=at, seconds=seconds, memory=peaks.get(kind), memory_kind=kind, card=cost.card)


def _slower(series: _Series, receipt: Receipt, *, known: bool) -> Happening | None:
    """``known``: it was told of others, which have not recovered."""
    now, then = series.seconds
    if not series.time.tells(now, then) or known:
        return None
    cards = [_usual(images) for images in (series.last, series.first)]
    said, at_first = map(_said, cards)
    beside = "; at first ".join(filter(None, (said, at_first))) if said else ""
    # The last one that was as fast as those before.
    until = max((item.at for item in series.last if item.seconds < now), default=series.last[0].at)
    text = (
        f"slower than before: {duration(now)} an image, {duration(then)} until {until:%H:%M} at {_size(receipt)}"
    )
    return Happening(
        kind=HappeningKind.SLOWER,
        text=f"{text} ({beside})" if beside else text,
        task=receipt.task.id,
        data={
            **_about(receipt),
            "seconds": now,
            "seconds_before": then,
            "card": to_json(cards[0]),
            "card_at_first": to_json(cards[1]),
        },
    )


def _larger(series: _Series, first: int, receipt: Receipt) -> Happening | None:
    kind = series.last[-1].memory_kind
    values = [item.memory for item in series.last if item.memory is not None and item.memory_kind == kind]
    if not values or not first:
        return None
    now = statistics.median_low(values)
    if not series.memory.tells(now, first):
        return None
    card = _said(_usual(series.last))
    text = f"memory grows: {_mib(now)} {kind} instead of {_mib(first)} at {_size(receipt)}"
    return Happening(
        kind=HappeningKind.MEMORY_GROWTH,
        text=f"{text} ({card})" if card else text,
        task=receipt.task.id,
        data={**_about(receipt), "memory_kind": kind, "bytes": round(now), "bytes_at_first": first},
    )


def _about(receipt: Receipt) -> dict[str, Any]:
    setting = receipt.memory_used or receipt.task.memory
    return {"model": receipt.task.model, "size": _size(receipt), "memory": setting}


def _size(receipt: Receipt) -> str:
    return f"{receipt.task.rendered_width}x{receipt.task.rendered_height}"


def _usual(images: Iterable[_Image]) -> CardState:
    """Medians of what the card said; the reason for holding it back that came last."""
    states = [image.card for image in images if image.card is not None]
    known = (
        [value for state in states if (value := getattr(state, name)) is not None]
        for name in ("temperature_c", "clock_mhz", "power_w")
    )
    temperature, clock, power = (statistics.median_low(values) if values else None for values in known)
    return CardState(
        temperature_c=None if temperature is None else round(temperature),
        clock_mhz=None if clock is None else round(clock),
        power_w=power,
        throttled=next((state.throttled for state in reversed(states) if state.throttled), ""),
    )


def _said(card: CardState) -> str:
    parts = (
        f"{card.temperature_c} °C" if card.temperature_c is not None else "",
        f"{card.clock_mhz} MHz" if card.clock_mhz is not None else "",
        f"held back by {card.throttled}" if card.throttled else "",
    )
    return ", ".join(filter(None, parts))


def _mib(value: float) -> str:
    return f"{value / 2**20:.0f} MiB"
