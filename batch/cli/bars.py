"""What a run shows on a terminal: the images of the run, and below it what is at work, a line for each device.

Whatever is to be read later stands above. The cursor stays visible: who is killed leaves the terminal as it was.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.live import Live

from batch.base import tables
from batch.base.text import at_seat, plural
from batch.cli.countdown import Countdown
from batch.cli.doing import LOADING, TEXTS, Doing, line
from batch.cli.downloads import DownloadBar
from batch.cli.progress import Late, announce, described, memory
from batch.cli.seat_lines import SeatLines
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
from batch.run.whereabouts import Whereabouts

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

_STATES = {
    HappeningKind.STOPPING: RunState.STOPPING,
    HappeningKind.PAUSED: RunState.PAUSED,
    HappeningKind.RESUMED: RunState.RENDERING,
}
_BEFORE = {RunState.STOPPING: "stopping, ", RunState.PAUSED: "paused, "}
"""What stands before the count, where that is to be known."""


class Bars:
    """The listener of a terminal."""

    def __init__(self) -> None:
        self._late, self._download = Late(), DownloadBar(sys.stderr)
        self._screen = Screen()
        self._live: Live | None = None
        self._where = Whereabouts()

    def on(self, event: Event) -> None:
        """Move the bars; what stays on the screen stands above them."""
        if self._live is None:
            self._late.on(event)
        self._download.on(event)
        self._screen.on(event)
        self._where.on(event)
        match event:
            case Began():
                announce(event)
            case Loading() if self._live is None:  # a measurement loads for every setting, and keeps the bars
                self._begin()
            case Happening():
                self._say(f"note: {at_seat(event.text, self._where.label(event.seat))}{event.hint}")
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
    """The bars, as they are drawn at any moment."""

    def __init__(self) -> None:
        self._countdown, self._seats, self._doing = Countdown(), SeatLines(), Doing()
        self._state = RunState.STARTING
        self._memory = ""
        self._failed = 0
        self._texts = False
        """Some are being encoded."""

    def on(self, event: Event) -> None:
        """What there is to draw."""
        self._countdown.on(event)
        self._seats.on(event)
        match event:
            case Preparing(text):
                self._doing.begin(text)
            case Began():
                self._state, self._failed, self._memory = RunState.STARTING, 0, ""
            case Loading(texts=0, loaded=False):
                self._all(LOADING)
            case Loading(texts, loaded=False):
                self._doing.begin(f"{LOADING}, then {plural(texts, 'text')} to encode")
            case Encoded(text, texts):
                self._texts = text < texts
                self._doing.move(TEXTS, Stage.ENCODE, text, texts)
                if self._seats.several and not self._texts:  # the devices go on, each with its own
                    self._doing.begin("")
            case Beat() if not self._seats.several:
                self._doing.beat(event)
            case Happening():
                self._state = _STATES.get(event.kind, self._state)
                if event.kind == HappeningKind.PAUSED:
                    self._doing.begin("paused")
                elif event.kind == HappeningKind.RESUMED:
                    self._all(LOADING)
            case Outcome():
                self._seats.done(event)
                self._memory = memory(event) or self._memory
                self._failed += event.status == Status.FAILED

    def _all(self, what: str) -> None:
        """What is at work, which is told of each device by itself where there are several."""
        self._doing.begin("" if self._seats.several else what)

    def close(self) -> None:
        """Nothing is at work any more."""
        self._doing.begin("")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich."""
        width = options.max_width - 3  # room for ^C, which would begin another line
        dots = "..." if options.ascii_only else "…"
        yield self._images(width)
        works = self._seats.several and self._seats.works
        if self._doing.name and not (works and not self._texts):
            yield self._doing.line(width, dots)
        if works:
            # With a line for the images, one for texts, and one that stays free below.
            yield from self._seats.lines(width, options.max_height - 3, dots)

    def _images(self, width: int) -> Table:
        count, total = self._countdown.count, self._countdown.total
        left = f"{_BEFORE.get(self._state, '')}{count} of {plural(total, 'image')}"
        right = [self._countdown.end, self._countdown.rate, self._memory, self._countdown.here]
        if self._failed:
            right.insert(0, f"{self._failed} failed")
        return line(width, left, count, total, right)
