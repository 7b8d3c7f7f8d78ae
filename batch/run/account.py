"""What the images of one run took, and why they failed: counted as it goes on, told when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import TYPE_CHECKING

from batch.records.events import Closed, Expected, Happening
from batch.records.kinds import HappeningKind
from batch.records.receipts import Outcome
from batch.run.whereabouts import Whereabouts
from batch.store.causes import causes

if TYPE_CHECKING:
    from batch.records.events import Event
    from batch.records.receipts import Failure, Receipt


@dataclass(frozen=True, slots=True)
class Lost:
    """A device that a run had, and has no more."""

    label: str
    """Empty of what was never used: then ``why`` says it all."""
    at: datetime
    images: int
    """Done there before."""
    why: str


@dataclass(slots=True)
class Account:
    """What the images of one run took, and why they failed."""

    images: int = 0
    degraded: int = 0
    """Rendered with a smaller memory setting than the one asked for."""
    energy_j: float = 0.0
    measured: int = 0
    """Images of which the energy is known."""
    slowest: tuple[str, float] | None = None
    """Name and seconds."""
    last: Receipt | None = None
    failed: dict[str, Failure] = field(default_factory=dict)
    """By the image's id."""
    rest_s: float | None = None
    """What is left takes so long, as far as that is known."""
    paused_s: float = 0.0
    """It rested so long as asked: no time in which images are rendered."""
    by_seat: Counter[str] = field(default_factory=Counter)
    """Images done at each device, where there are several."""
    seats_lost: list[Lost] = field(default_factory=list)
    where: Whereabouts = field(default_factory=Whereabouts)
    clock: Callable[[], float] = perf_counter
    _paused_at: float | None = None

    def on(self, event: Event) -> None:
        """Learn from whatever comes up."""
        self.where.on(event)
        if isinstance(event, Expected):
            self.rest_s = event.seconds
        elif isinstance(event, Outcome):
            self._outcome(event)
        elif isinstance(event, Happening) and event.kind == HappeningKind.PAUSED:
            self._paused_at = self.clock()
        elif isinstance(event, Happening) and event.kind == HappeningKind.SEAT_LEFT:
            self._lost(event)
        elif isinstance(event, Closed) or (isinstance(event, Happening) and event.kind == HappeningKind.RESUMED):
            self._goes_on()  # or ends in its pause

    def _outcome(self, outcome: Outcome) -> None:
        self.failed.pop(outcome.key, None)  # it was tried again
        if outcome.failure is not None and not outcome.failure.is_result:
            self.failed[outcome.key] = outcome.failure
        where = self.where.left(outcome.key)
        if outcome.receipt is not None:
            self._done(outcome.receipt)
            self.by_seat.update([where] if where else [])

    def _lost(self, event: Happening) -> None:
        label = self.where.label(event.seat)
        why = str(event.data.get("why", event.text))
        self.seats_lost.append(Lost(label, datetime.now().astimezone(), self.by_seat[label], why))

    def _goes_on(self) -> None:
        if self._paused_at is not None:
            self.paused_s += self.clock() - self._paused_at
            self._paused_at = None

    def _done(self, receipt: Receipt) -> None:
        cost = receipt.measurement
        self.images += 1
        self.last = receipt
        self.degraded += bool(receipt.degraded_from)
        if cost.energy_j is not None:
            self.energy_j += cost.energy_j
            self.measured += 1
        if self.slowest is None or cost.total_s > self.slowest[1]:
            self.slowest = (receipt.task.name, cost.total_s)

    @property
    def wh(self) -> float:
        """Energy in watt-hours."""
        return self.energy_j / 3600

    @property
    def causes(self) -> list[tuple[str, int]]:
        """Why images failed and how many, the most frequent first."""
        found = causes(self.failed.values())
        return [(f"{item.stage}: {item.message}" if item.stage else item.message, item.count) for item in found]
