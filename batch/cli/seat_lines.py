"""A line for each device of a run that has several: what is at work there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.text import Text

from batch.cli.doing import BETWEEN, LEAST, LOADING, RATE, Doing, grid, named
from batch.records.events import Beat, Closed, Crew, Happening, Loading
from batch.records.kinds import HappeningKind, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from batch.records.events import Event, Seat
    from batch.records.receipts import Outcome

MOST = 8
"""Lines: of more devices the others are counted."""
_WAITS, _STARTS = "waiting", "starting a worker"
_FROM_THEN = {HappeningKind.PAUSED: "", HappeningKind.RESUMED: LOADING}
"""What is at work at every seat; of other kinds, a fresh worker starts at the seat that they are told of."""
_SAID = len("denoising 00 of 00")
"""Cells kept for what is done with an image, so that the bars begin and end at the same place."""
_BAR, _NAME, _SHORT = 24, 36, 24
"""Cells of a bar at most; of a name before there is a longer bar or a rate, and before there is a bar at all: a
name is read rather than a bar."""


class SeatLines:
    """Hears every event; has nothing to show of one seat."""

    def __init__(self) -> None:
        self._seats: dict[int, Seat] = {}
        self._doing: dict[int, Doing] = {}
        self._ids: dict[int, set[str]] = {}
        self._where: dict[str, int] = {}

    def on(self, event: Event) -> None:
        """Learn from it."""
        match event:
            case Crew(seats):
                self._seats = {seat.number: seat for seat in seats}
                self._doing = {number: self._doing.get(number) or Doing() for number in self._seats}
            case Loading(texts=0, loaded=False):  # every seat has something to do, and nothing at work
                for number, doing in self._doing.items():
                    self._idle(number, doing.name or LOADING)
            case Beat(seat=seat) if self.several and event.stage != Stage.SAVE and seat in self._doing:
                self._beat(event)
            case Happening(kind=kind, seat=seat) if kind.unloads:
                for number in [*self._doing] if seat is None or kind in _FROM_THEN else [seat]:
                    self._idle(number, _FROM_THEN.get(kind, _STARTS))
            case Closed():
                for number in self._doing:
                    self._idle(number)

    def done(self, outcome: Outcome) -> None:
        """An image is done or has failed: there may be nothing more to do where it was."""
        seat = self._where.pop(outcome.key, -1)
        ids = self._ids.get(seat, {outcome.key})
        ids.discard(outcome.key)
        if not ids:
            self._idle(seat)

    def _beat(self, beat: Beat) -> None:
        doing = self._doing[beat.seat]
        before = doing.parted
        doing.beat(beat)
        if beat.stage in (Stage.LOAD, Stage.ENCODE):
            self._ids.pop(beat.seat, None)
        elif doing.parted != before or beat.seat not in self._ids:
            self._ids[beat.seat] = set(beat.ids)
            self._where.update(dict.fromkeys(beat.ids, beat.seat))

    def _idle(self, number: int, then: str = "") -> None:
        """No image is at work there."""
        self._ids.pop(number, None)
        if number in self._doing:
            self._doing[number].begin(then)

    @property
    def several(self) -> bool:
        """Whether there are lines to show."""
        return len(self._seats) > 1

    @property
    def works(self) -> bool:
        """Whether anything is at work at a seat."""
        return any(doing.name for doing in self._doing.values())

    def lines(self, width: int, most: int, dots: str) -> Iterator[Table | Text]:
        """In so many lines at most; where there is no room for all, those at work come first."""
        shown = numbers = sorted(self._seats)
        if len(numbers) > min(MOST, most):
            at_work_first = sorted(numbers, key=lambda number: not self._doing[number].name)
            shown = sorted(at_work_first[: max(1, min(MOST, most - 1))])
        rest = len(numbers) - len(shown)
        label = max(cell_len(self._seats[number].label) for number in shown)
        for number in shown:
            yield self._line(number, width, min(label, width // 3), dots)
        if rest:
            yield Text(f"and {rest} more"[:width])

    def _line(self, number: int, width: int, label: int, dots: str) -> Table:
        doing = self._doing[number]
        said = doing.said or ("" if doing.name else _WAITS)
        cells: list[tuple[int, Text | ProgressBar]] = [
            (label, Text(named(self._seats[number].label, label, dots)))
        ]
        left = width - label - len(BETWEEN)
        beside = max(_SAID, cell_len(said))
        if left < beside + len(BETWEEN) + LEAST:  # no room for a name
            return grid(width, [*cells, (max(1, left), Text(said))])
        left -= beside + len(BETWEEN)
        rate = RATE if left - RATE - LEAST - 2 * len(BETWEEN) >= _NAME else 0
        left -= rate + len(BETWEEN) if rate else 0
        bar = min(_BAR, max(LEAST, left - len(BETWEEN) - _NAME))
        bar = bar if left - bar - len(BETWEEN) >= _SHORT else 0
        name = left - bar - len(BETWEEN) if bar else left
        cells.append((name, Text(named(doing.name, name, dots))))
        if bar:
            cells.append((bar, ProgressBar(doing.parts, doing.part, width=bar) if doing.parts else Text("")))
        cells.append((beside, Text(said)))
        if rate:
            cells.append((rate, Text(doing.rate)))
        return grid(width, cells)
