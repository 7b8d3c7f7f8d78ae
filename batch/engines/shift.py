"""What the lanes of a run share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.records.events import Crew, Happening, Listener, Seat
from batch.records.kinds import HappeningKind
from batch.records.spec import RunSpec

if TYPE_CHECKING:
    from batch.engines.agenda import Agenda
    from batch.engines.base import Helm, WorkPlaces
    from batch.engines.inhand import InHand
    from batch.records.tasks import EncodeTask, Task
    from batch.store.folder import RunFolder


@dataclass(slots=True, kw_only=True)
class Shift:
    """One run's, while it is rendered."""

    spec: RunSpec
    agenda: Agenda
    folder: RunFolder
    places: WorkPlaces
    listener: Listener
    stop: Helm
    tries: int
    """Workers that an image may take with it."""
    seats: dict[int, Seat] = field(default_factory=dict)
    """Those that have not left, by their numbers."""
    hands: dict[int, InHand] = field(default_factory=dict)
    """What their workers have."""
    ending: Exception | None = None
    """What ends the run: nothing more is started."""
    dropping: bool = False
    """What is at work is dropped."""

    def end(self, why: Exception) -> None:
        """Start nothing more; the first reason is told."""
        self.ending = self.ending or why

    def sit(self, seat: Seat, in_hand: InHand) -> None:
        """Somebody works at a seat from now on."""
        self.seats[seat.number], self.hands[seat.number] = seat, in_hand

    def rise(self, seat: Seat) -> None:
        """Nobody works there any more."""
        del self.seats[seat.number], self.hands[seat.number]

    def tell(
        self, kind: HappeningKind, text: str, seat: Seat, *, task: str = "", log: str = "", why: str = ""
    ) -> None:
        """Tell what has happened at a seat; ``why`` is a part of the text that is told again at the end."""
        data = {name: said for name, said in {"log": log, "why": why}.items() if said}
        self.listener.on(Happening(kind=kind, text=text, task=task, data=data, seat=seat.number))

    def tell_crew(self) -> None:
        """Tell who is there."""
        self.listener.on(Crew(tuple(self.seats.values())))

    def at(self, seat: Seat) -> str:
        """Where it was, for people: nothing where there is one place only."""
        return f" on {seat.label}" if len(self.seats) > 1 else ""

    def left(self) -> Iterator[Task | EncodeTask]:
        """All that is not done."""
        for hand in self.hands.values():
            yield from (item.task for item in hand.given)
        yield from self.agenda.waiting()
