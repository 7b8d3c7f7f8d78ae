"""How each seat of a run is, where there are several: what watches a run's folder sees of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch.records.events import Beat, Closed, Crew, Happening
from batch.records.kinds import RESTS, Stage
from batch.records.live import SeatState, SeatStatus
from batch.records.receipts import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.records.events import Event, Seat

_STATES = {Stage.LOAD: SeatState.LOADING, Stage.ENCODE: SeatState.ENCODING}


class LiveSeats:
    """Hears every event of a run. As long as there was one seat only, it has nothing to tell."""

    def __init__(self) -> None:
        self._seats: dict[int, SeatStatus] = {}
        self._ids: dict[int, set[str]] = {}
        """Of the images at work."""
        self._where: dict[str, int] = {}
        """The seats of those that are not done."""
        self._several = False

    def on(self, event: Event) -> None:
        """Learn from it."""
        match event:
            case Crew(seats):
                self._crew(seats)
            case Beat():
                self._beat(event)
            case Outcome(key=key) if self._several:  # a seat may have nothing more to do
                self._outcome(key)
            case Happening(kind=kind, seat=seat) if kind.unloads:
                state = SeatState.WAITING if RESTS.get(kind) else SeatState.LOADING  # a fresh worker starts there
                for number in [*self._seats] if seat is None or kind in RESTS else [seat]:
                    self._idle(number, state)
            case Closed():
                for number in [*self._seats]:
                    self._idle(number)

    def _outcome(self, key: str) -> None:
        seat = self._where.pop(key, -1)
        ids = self._ids.get(seat, {key})
        ids.discard(key)
        if not ids:
            self._idle(seat)

    def _crew(self, seats: Sequence[Seat]) -> None:
        self._several = self._several or len(seats) > 1
        there = {seat.number for seat in seats}
        for number in self._seats.keys() - there:
            self._idle(number)
            self._seats[number] = replace(self._seats[number], state=SeatState.GONE)
        for seat in seats:
            known = self._seats.get(seat.number)
            if known is None or known.state == SeatState.GONE:
                self._seats[seat.number] = SeatStatus(number=seat.number, label=seat.label or seat.device)

    def _beat(self, beat: Beat) -> None:
        seat = self._seats.get(beat.seat)
        if seat is None or beat.stage == Stage.SAVE:  # saved behind the next image
            return
        state = _STATES.get(beat.stage, SeatState.RENDERING)
        if state != SeatState.RENDERING:
            self._ids.pop(beat.seat, None)
            self._seats[beat.seat] = SeatStatus(number=seat.number, label=seat.label, state=state)
            return
        if self._several and seat.image != beat.name:
            self._ids[beat.seat] = set(beat.ids)
            self._where.update(dict.fromkeys(beat.ids, beat.seat))
        self._seats[beat.seat] = SeatStatus(
            number=seat.number, label=seat.label, state=state,
            image=beat.name, stage=beat.stage, part=beat.part, parts=beat.parts,
        )  # fmt: skip

    def _idle(self, number: int, state: SeatState = SeatState.WAITING) -> None:
        self._ids.pop(number, None)
        seat = self._seats.get(number)
        if seat is not None and seat.state != SeatState.GONE:
            self._seats[number] = SeatStatus(number=number, label=seat.label, state=state)

    @property
    def renders(self) -> bool:
        """Several are there, and one of them has an image at work: whatever else goes on is beside that."""
        return self._several and any(seat.state == SeatState.RENDERING for seat in self._seats.values())

    @property
    def statuses(self) -> tuple[SeatStatus, ...]:
        """Of all that there are or were, by their numbers."""
        return tuple(seat for _, seat in sorted(self._seats.items())) if self._several else ()
