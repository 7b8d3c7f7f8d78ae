"""How long the rest of a run takes: as it is told, or else as its last images took."""

from __future__ import annotations

import statistics
from collections import deque
from datetime import datetime
from time import monotonic

from batch.base.text import duration
from batch.cli import words
from batch.records.events import Began, Encoded, Event, Expected, LeftOut, Loading
from batch.records.receipts import Outcome


class Countdown:
    """Hears every event of a run; what it says is empty as long as nothing is known."""

    def __init__(self) -> None:
        self.total = self.count = 0
        self._began = self._last = monotonic()
        self._seconds: deque[float] = deque(maxlen=20)
        self._measures = False
        self._expected: Expected | None = None
        self._told = 0.0

    def on(self, event: Event) -> None:
        """Count, and take the time."""
        match event:
            case Began():
                self.total, self.count, self._measures = event.to_render, 0, event.measures
                self._began = self._last = monotonic()
                self._seconds.clear()
                self._expected = None
            case Loading() | Encoded():
                self._last = monotonic()
            case Expected():
                self._expected, self._told = event, monotonic()
            case LeftOut(count):
                self.total -= count
            case Outcome():
                self._finished(event)

    def _finished(self, outcome: Outcome) -> None:
        self.count += 1
        now = monotonic()
        taken = now - self._last
        if self.count == 1 and outcome.receipt is not None:
            # Loading and the encoding of texts lie before the first image, not before each.
            taken = min(taken, outcome.receipt.measurement.total_s)
        self._seconds.append(taken)
        self._last = now

    @property
    def each(self) -> float | None:
        """Seconds of an image."""
        if self._expected is not None and self._expected.per_hour:
            return 3600 / self._expected.per_hour
        if not self._seconds:
            return None
        if self._measures:  # where every few images a process is started, and loads
            return (self._last - self._began) / self.count
        return statistics.median(self._seconds)

    @property
    def left(self) -> float | None:
        """Seconds of the rest."""
        if self._expected is not None and self._expected.seconds is not None:
            return max(0.0, self._expected.seconds - (monotonic() - self._told))
        return None if self.each is None else (self.total - self.count) * self.each

    @property
    def rate(self) -> str:
        """``4.2 s/image``."""
        return words.rate(self.each, "image") if self.each else ""

    @property
    def end(self) -> str:
        """``done about 06:40``."""
        if self.left is None or self.count >= self.total:
            return ""
        return f"done about {words.clock(self.left, datetime.now().astimezone())}"

    @property
    def rest(self) -> str:
        """``3m 20s left, done about 06:40``."""
        if self.count >= self.total:
            return "last one"
        return "" if self.left is None else f"{duration(self.left)} left, {self.end}"
