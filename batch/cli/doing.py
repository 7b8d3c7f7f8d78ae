"""What is at work at one place: an image, texts, or a model that is loaded; and the bar that shows it."""

from __future__ import annotations

from time import monotonic

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batch.base import tables
from batch.base.text import one_line, visible
from batch.cli import words
from batch.records.events import Beat
from batch.records.kinds import Stage

LEAST = 10
"""Cells of a bar that tells something."""
BETWEEN = "  "
RATE = len("00.0 s/step")
"""Cells kept for a rate, so that a name stays as long as it is when one comes to be known."""
LOADING, TEXTS = "loading the model", "texts"


class Doing:
    """Hears what is at work, and how far it is."""

    def __init__(self, what: str = "") -> None:
        self.begin(what)

    def begin(self, what: str) -> None:
        """Something that has no parts."""
        self.name, self.parted = what, ""
        self.stage: Stage | None = None
        self.part = self.parts = self._from = 0
        self._since = monotonic()

    def move(self, name: str, stage: Stage, part: int, parts: int) -> None:
        """Something that has, or goes on."""
        if (name, stage, parts) != (self.parted, self.stage, self.parts) or part < self.part:
            self.begin(name)
            self.parted, self.stage, self.parts, self._from = name, stage, parts, part
        self.part = part

    def beat(self, beat: Beat) -> None:
        """A sign of life; saving goes on behind the next image."""
        match beat:
            case Beat(_, Stage.LOAD):
                if self.parted or not self.name.startswith(LOADING):
                    self.begin(LOADING)
            case Beat(name, Stage.DENOISE | Stage.DECODE | Stage.RENDER as stage, part, parts):
                self.move(name, stage, part, parts)
            case Beat(name, Stage.ENCODE, part, parts) if self.parted != TEXTS:
                self.move(name, Stage.ENCODE, part, parts)

    @property
    def said(self) -> str:
        """What is done with it."""
        if self.stage is None:
            return f"{monotonic() - self._since:.0f} s" if self.name else ""
        return words.at_work(self.stage, self.part, self.parts)

    @property
    def rate(self) -> str:
        """Of parts that have been seen to pass."""
        passed, seconds = self.part - self._from, monotonic() - self._since
        unit = "text" if self.stage == Stage.ENCODE else words.PARTS.get(self.stage) if self.stage else None
        return words.rate(seconds / passed, unit) if unit and passed > 1 and seconds > 0.2 else ""

    def line(self, width: int, dots: str) -> Table:
        """So wide."""
        beside = [cell_len(self.said), *([LEAST, RATE] if self.parts else [])]
        room = width - sum(cells + len(BETWEEN) for cells in beside)
        return line(width, named(self.name, max(LEAST, room), dots), self.part, self.parts, [self.said, self.rate])


def named(name: str, room: int, dots: str) -> str:
    """A name in so many cells at most."""
    return tables.shortened(one_line(visible(name)), room, dots)


def line(width: int, left: str, done: int, total: int, right: list[str]) -> Table:
    """A bar between two texts; where it would be too short, what stands last on the right is left out."""
    said = [part for part in right if part]
    while said[1:] and _room(width, left, said) < LEAST:
        said.pop()
    cells: list[tuple[int, Text | ProgressBar]] = [(cell_len(left), Text(left))]
    room = _room(width, left, said)
    if total and room >= LEAST:
        cells.append((room, ProgressBar(total, done, width=room)))
    if text := BETWEEN.join(said):
        # What is at work is told even where its name has no room.
        cells.append((min(cell_len(text), width), Text(text)))
    while sum(size + len(BETWEEN) for size, _ in cells) - len(BETWEEN) > width and cells[1:]:
        cells.pop(0)
    return grid(width, cells)


def grid(width: int, cells: list[tuple[int, Text | ProgressBar]]) -> Table:
    """A line of cells, each so wide."""
    made = Table.grid(padding=(0, len(BETWEEN), 0, 0))
    for size, _ in cells:
        made.add_column(width=min(size, width), no_wrap=True, overflow="crop")
    made.add_row(*(cell for _, cell in cells))
    return made


def _room(width: int, left: str, said: list[str]) -> int:
    return width - cell_len(BETWEEN.join([left, *said])) - len(BETWEEN)
