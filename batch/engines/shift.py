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
    from batch.engines.base import Helm, Places
    from batch.engines.lane import Lane
    from batch.records.tasks import EncodeTask, Task
    from batch.store.folder import RunFolder


@dataclass(slots=True, kw_only=True)
class Shift:
    """One run's, while it is rendered."""

    spec: RunSpec
    agenda: Agenda
    folder: RunFolder
    places: Places
    listener: Listener
    stop: Helm
    tries: int
    """Workers that an image may take with it."""
    lanes: list[Lane] = field(default_factory=list)
    """Those at whose seats there are workers."""
    ending: Exception | None = None
    """What ends the run: nothing more is started."""
    dropping: bool = False
    """What is at work is dropped."""

    def end(self, why: Exception) -> None:
        """Start nothing more; the first reason is told."""
        self.ending = self.ending or why

    def tell(
        self, kind: HappeningKind, text: str, task: str = "", log: str = "", lane: Lane | None = None
    ) -> None:
        """Tell what has happened, at one of the seats or to all."""
        data = {"log": log} if log else {}
        seat = None if lane is None else lane.seat.number
        self.listener.on(Happening(kind=kind, text=text, task=task, data=data, seat=seat))

    def tell_crew(self) -> None:
        """Tell who is there."""
        self.listener.on(Crew(tuple(lane.seat for lane in self.lanes)))

    def at(self, seat: Seat) -> str:
        """Where it was, for people: nothing where there is one place only."""
        return f" on {seat.label}" if len(self.lanes) > 1 else ""

    def left(self) -> Iterator[Task | EncodeTask]:
        """All that is not done."""
        for lane in self.lanes:
            yield from (item.task for item in lane.in_hand.given)
        yield from self.agenda.waiting()
