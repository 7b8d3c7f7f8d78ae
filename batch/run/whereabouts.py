"""At which device an image was rendered, and what to call a device: for people, where a run has several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.records.events import Beat, Crew

if TYPE_CHECKING:
    from batch.records.events import Event


class Whereabouts:
    """Hears every event of a run. Of a run that has, and had, one seat alone it says nothing."""

    def __init__(self) -> None:
        self._labels: dict[int, str] = {}
        self._at: dict[str, int] = {}
        """Images that are not done."""
        self._heard: dict[int, tuple[str, ...]] = {}

    def on(self, event: Event) -> None:
        """Learn from it."""
        if isinstance(event, Crew):
            self._labels |= {seat.number: seat.label or seat.device for seat in event.seats}
        elif isinstance(event, Beat) and event.ids and event.ids != self._heard.get(event.seat):
            self._heard[event.seat] = event.ids
            self._at.update(dict.fromkeys(event.ids, event.seat))

    def label(self, seat: int | None) -> str:
        """What a seat is called; empty where there is only one, or none is named."""
        return self._labels.get(seat, "") if seat is not None and len(self._labels) > 1 else ""

    def left(self, key: str) -> str:
        """Where an image was that is done, or has failed; empty as above. To be asked once."""
        return self.label(self._at.pop(key, None))
