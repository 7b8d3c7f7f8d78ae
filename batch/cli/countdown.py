"""How far a run is and how long its rest takes, as it is told: nothing is judged here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic

from batch.base.text import at_clock, done_about, roughly
from batch.cli import words
from batch.records.events import Began, Event, Expected, Happening, LeftOut
from batch.records.kinds import RESTS, HappeningKind, Status
from batch.records.receipts import Outcome

_DAY_S = 24 * 3600.0


class Countdown:
    """Hears every event of a run; what it says is empty as long as nothing is known."""

    def __init__(self) -> None:
        self.total = self.count = 0
        """Images of the plan, and those of them that are done."""
        self._before = self._to_come = 0
        self._expected = Expected(seconds=None)
        self._told = monotonic()
        self._paused = self._stops = False

    def on(self, event: Event) -> None:
        """Count, and note what is expected."""
        match event:
            case Began():
                self._to_come = event.to_render if event.most is None else min(event.most, event.to_render)
                self.total, self.count, self._before = event.total, event.done, event.done
                self._expected, self._paused, self._stops = Expected(seconds=None), False, False
            case Expected():
                self._expected, self._told = event, monotonic()
            case LeftOut(count):
                self._to_come -= count
            case Outcome():
                self._to_come -= 1
                self.count += event.status == Status.DONE
            case Happening(kind=HappeningKind.STOPPING):
                self._stops = True
            case Happening(kind=kind):
                self._paused = RESTS.get(kind, self._paused)

    @property
    def rate(self) -> str:
        """``4.2 s/image``."""
        rate = None if self._paused or self._stops else self._expected.per_hour
        return words.rate(3600 / rate, "image") if rate else ""

    @property
    def here(self) -> str:
        """``12 in this run``, where there were some before."""
        return f"{self.count - self._before} in this run" if self._before else ""

    @property
    def end(self) -> str:
        """``done about 06:40``; ``stops at 04:27 with about 89 of 1600 done``; ``about 3m 20s once resumed``."""
        expected, cutoff = self._expected, self._expected.cutoff
        if self._stops or self._to_come <= 0:
            return ""
        seconds = None if cutoff is None or cutoff.seconds is None else self._left(cutoff.seconds)
        images = None if cutoff is None or cutoff.images is None else max(self.count, cutoff.images)
        if self._paused:
            if cutoff is not None and cutoff.clock:
                return while_paused(expected.seconds, seconds)
            return while_paused(expected.ends_s, None, images, self.total)
        if cutoff is not None:
            return stops(seconds, images, self.total, exact=cutoff.clock)
        if expected.seconds is None:
            return ""
        return done_about(self._left(expected.seconds), guessed=expected.guessed)

    @property
    def rest(self) -> str:
        """``3m 20s left, done about 06:40``."""
        if self._to_come <= 0:
            return "last one"
        seconds, is_whole = self._expected.seconds, self._expected.cutoff is None
        left = f"{roughly(self._left(seconds))} left" if seconds is not None and is_whole and self.end else ""
        return ", ".join(filter(None, [left, self.end]))

    def _left(self, seconds: float) -> float:
        """Of so many when the end was judged."""
        return max(0.0, seconds - (monotonic() - self._told))


def while_paused(rest: float | None, over: float | None, images: int | None = None, total: int = 0) -> str:
    """How long a run takes once it goes on, with so many ``images`` done where a limit ends it with them.

    The clock ends it in ``over`` seconds, paused or not.
    """
    parts = [f"about {roughly(rest)} once resumed"] if rest is not None and (over is None or rest <= over) else []
    if over is not None:
        parts.append(f"{stops(over, None, 0, exact=True)}, paused or not")
    elif images is not None:
        parts.append(stops(None, images, total, exact=False))
    return ", ".join(parts)


def stops(seconds: float | None, images: int | None, total: int, *, exact: bool) -> str:
    """``stops at 04:27 with about 89 of 1600 done``: a limit ends it then, ``exact`` by the clock."""
    by_then = "" if images is None else f" with{' about' if exact else ''} {images} of {total} done"
    if seconds is None:
        return f"stops{by_then}"
    if exact and seconds < _DAY_S:
        return f"stops {at_clock(datetime.now(UTC) + timedelta(seconds=seconds))}{by_then}"
    return f"stops{done_about(seconds).removeprefix('done')}{by_then}"
