"""What the images of one run took, and why they failed: counted as it goes on, told when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.records.events import Expected
from batch.records.receipts import Outcome
from batch.store.causes import causes

if TYPE_CHECKING:
    from batch.records.events import Event
    from batch.records.receipts import Failure, Receipt


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

    def on(self, event: Event) -> None:
        """Learn from whatever comes up."""
        if isinstance(event, Expected):
            self.rest_s = event.seconds
        elif isinstance(event, Outcome):
            self._outcome(event)

    def _outcome(self, outcome: Outcome) -> None:
        self.failed.pop(outcome.key, None)  # it was tried again
        if outcome.failure is not None and not outcome.failure.is_result:
            self.failed[outcome.key] = outcome.failure
        if outcome.receipt is not None:
            self._done(outcome.receipt)

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
