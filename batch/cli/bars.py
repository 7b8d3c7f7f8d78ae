"""What a run shows on a terminal: the images of the run, and below it what is at work.

Whatever is to be read later stands above. The cursor stays visible: who is killed leaves the terminal as it was.
"""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batch.base import tables
from batch.base.text import one_line, plural, visible
from batch.cli import words
from batch.cli.countdown import Countdown
from batch.cli.downloads import DownloadBar
from batch.cli.progress import Late, announce, described, memory
from batch.cli.terminal import above
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Encoded,
    Event,
    Happening,
    Loading,
    Preparing,
)
from batch.records.kinds import HappeningKind, Stage, Status
from batch.records.live import RunState
from batch.records.receipts import Outcome

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_LEAST = 10
"""Cells of a bar that tells something."""
_BETWEEN = "  "
_RATE = len("00.0 s/step")
"""Cells kept for a rate, so that a name stays as long as it is when one comes to be known."""
_LOADING, _TEXTS = "loading the model", "texts"
_STATES = {
    HappeningKind.STOPPING: RunState.STOPPING,
    HappeningKind.PAUSED: RunState.PAUSED,
    HappeningKind.RESUMED: RunState.RENDERING,
}
_MEANWHILE = {HappeningKind.PAUSED: "paused", HappeningKind.RESUMED: _LOADING}
"""What goes on from then on, until something is heard of an image."""
_BEFORE = {RunState.STOPPING: "stopping, ", RunState.PAUSED: "paused, "}
"""What stands before the count, where that is to be known."""


class Bars:
    """The listener of a terminal."""

    def __init__(self) -> None:
        self._late, self._download = Late(), DownloadBar(sys.stderr)
        self._screen = Screen()
        self._live: Live | None = None

    def on(self, event: Event) -> None:
        """Move the bars; what stays on the screen stands above them."""
        if self._live is None:
            self._late.on(event)
        self._download.on(event)
        self._screen.on(event)
        match event:
            case Began():
                announce(event)
            case Loading() if self._live is None:  # a measurement loads for every setting, and keeps the bars
                self._begin()
            case Happening():
                self._say(f"note: {event.text}{event.hint}")
            case Outcome(status=Status.FAILED):
                self._say(described(event), "red")
            case Closed():
                self._close()

    def _begin(self) -> None:
        console = tables.console(sys.stderr)
        self._live = Live(
            self._screen,
            console=console,
            refresh_per_second=4,
            redirect_stdout=sys.stdout.isatty(),  # into a file it is none of the bars' business
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        console.show_cursor(True)

    def _say(self, text: str, style: str = "") -> None:
        above(self._live.console if self._live else tables.console(sys.stderr), text, style)

    def _close(self) -> None:
        if self._live is not None:
            self._screen.close()
            self._live.stop()
            self._live = None


class Screen:
    """The two bars, as they are drawn at any moment."""

    def __init__(self) -> None:
        self._countdown = Countdown()
        self._state = RunState.STARTING
        self._memory = ""
        self._failed = 0
        self._begin("")

    def on(self, event: Event) -> None:
        """What there is to draw."""
        self._countdown.on(event)
        match event:
            case Preparing(text):
                self._begin(text)
            case Began():
                self._state, self._failed, self._memory = RunState.STARTING, 0, ""
            case Loading(texts, loaded=False):
                self._begin(_LOADING + (f", then {plural(texts, 'text')} to encode" if texts else ""))
            case Encoded(text, texts):
                self._move(_TEXTS, Stage.ENCODE, text, texts)
            case Beat(_, Stage.LOAD):
                if self._parted or not self._name.startswith(_LOADING):
                    self._begin(_LOADING)
            case Beat(name, Stage.DENOISE | Stage.DECODE | Stage.RENDER as stage, part, parts):
                self._move(name, stage, part, parts)
            case Beat(name, Stage.ENCODE, part, parts) if self._parted != _TEXTS:
                self._move(name, Stage.ENCODE, part, parts)
            case Happening():
                self._state = _STATES.get(event.kind, self._state)
                if event.kind in _MEANWHILE:
                    self._begin(_MEANWHILE[event.kind])
            case Outcome():
                self._memory = memory(event) or self._memory
                self._failed += event.status == Status.FAILED

    def close(self) -> None:
        """Nothing is at work any more."""
        self._begin("")

    def _begin(self, what: str) -> None:
        self._name, self._parted = what, ""
        self._stage: Stage | None = None
        self._part = self._parts = self._from = 0
        self._since = monotonic()

    def _move(self, name: str, stage: Stage, part: int, parts: int) -> None:
        if (name, stage, parts) != (self._parted, self._stage, self._parts) or part < self._part:
            self._begin(name)
            self._parted, self._stage, self._parts, self._from = name, stage, parts, part
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich."""
        width = options.max_width - 3  # room for ^C, which would begin another line
        yield self._images(width)
        if self._name:
            yield self._at_work(width, "..." if options.ascii_only else "…")

    def _images(self, width: int) -> Table:
        count, total = self._countdown.count, self._countdown.total
        left = f"{_BEFORE.get(self._state, '')}{count} of {plural(total, 'image')}"
        right = [self._countdown.end, self._countdown.rate, self._memory, self._countdown.here]
        if self._failed:
            right.insert(0, f"{self._failed} failed")
        return _line(width, left, count, total, right)

    def _at_work(self, width: int, dots: str) -> Table:
        doing = self._doing()
        beside = [cell_len(doing), *([_LEAST, _RATE] if self._parts else [])]
        room = width - sum(cells + len(_BETWEEN) for cells in beside)
        name = tables.shortened(one_line(visible(self._name)), max(_LEAST, room), dots)
        return _line(width, name, self._part, self._parts, [doing, self._rate()])

    def _doing(self) -> str:
        if self._stage is None:
            return f"{monotonic() - self._since:.0f} s"
        return words.at_work(self._stage, self._part, self._parts)

    def _rate(self) -> str:
        """Of parts that have been seen to pass."""
        passed, seconds = self._part - self._from, monotonic() - self._since
        unit = "text" if self._stage == Stage.ENCODE else words.PARTS.get(self._stage) if self._stage else None
        return words.rate(seconds / passed, unit) if unit and passed > 1 and seconds > 0.2 else ""


def _line(width: int, left: str, done: int, total: int, right: list[str]) -> Table:
    """A bar between two texts; where it would be too short, what stands last on the right is left out."""
    said = [part for part in right if part]
    while said[1:] and _room(width, left, said) < _LEAST:
        said.pop()
    cells: list[tuple[int, Text | ProgressBar]] = [(cell_len(left), Text(left))]
    room = _room(width, left, said)
    if total and room >= _LEAST:
        cells.append((room, ProgressBar(total, done, width=room)))
    if text := _BETWEEN.join(said):
        # What is at work is told even where its name has no room.
        cells.append((min(cell_len(text), width), Text(text)))
    while sum(size + len(_BETWEEN) for size, _ in cells) - len(_BETWEEN) > width and cells[1:]:
        cells.pop(0)
    line = Table.grid(padding=(0, len(_BETWEEN), 0, 0))
    for size, _ in cells:
        line.add_column(width=min(size, width), no_wrap=True, overflow="crop")
    line.add_row(*(cell for _, cell in cells))
    return line


def _room(width: int, left: str, said: list[str]) -> int:
    return width - cell_len(_BETWEEN.join([left, *said])) - len(_BETWEEN)
