"""How far a run is and how long its rest takes, as it is told: nothing is judged here."""

from __future__ import annotations

from time import monotonic

from batch.base.text import done_about, duration
from batch.cli import words
from batch.records.events import Began, Event, Expected, LeftOut
from batch.records.receipts import Outcome


class Countdown:
    """Hears every event of a run; what it says is empty as long as nothing is known."""

    def __init__(self) -> None:
        self.total = self.count = 0
        self._expected = Expected(seconds=None)
        self._told = monotonic()

    def on(self, event: Event) -> None:
        """Count, and note what is expected."""
        match event:
            case Began():
                self.total = event.to_render if event.most is None else min(event.most, event.to_render)
                self.count, self._expected = 0, Expected(seconds=None)
            case Expected():
                self._expected, self._told = event, monotonic()
            case LeftOut(count):
                self.total -= count
            case Outcome():
                self.count += 1

    @property
    def left(self) -> float | None:
        """Seconds of the rest."""
        if self._expected.seconds is None:
            return None
        return max(0.0, self._expected.seconds - (monotonic() - self._told))

    @property
    def rate(self) -> str:
        """``4.2 s/image``."""
        return words.rate(3600 / self._expected.per_hour, "image") if self._expected.per_hour else ""

    @property
    def end(self) -> str:
        """``done about 06:40``."""
        if self.left is None or self.count >= self.total:
            return ""
        return done_about(self.left, guessed=self._expected.guessed)

    @property
    def rest(self) -> str:
        """``3m 20s left, done about 06:40``."""
        if self.count >= self.total:
            return "last one"
        return "" if self.left is None else f"{duration(self.left)} left, {self.end}"
