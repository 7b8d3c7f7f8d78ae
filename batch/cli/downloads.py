"""Downloads: lines, and on a terminal a bar over the bytes of a model, for a log would get a line per step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from batch.base.text import one_line, visible
from batch.records.events import Closed, Downloading, Event, Received

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_NAME = 24


class DownloadBar:
    """A listener for what is about downloads; ``lines`` is where its lines go."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on(self, event: Event) -> None:
        """Shows what is about downloads."""
        match event:
            case Downloading(text):
                self._say(one_line(visible(text)))
            case Received(name, done, total):
                self._show(name, done, total)
            case Closed():
                self._close()

    def _say(self, line: str) -> None:
        """A bar of the same terminal is taken away meanwhile."""
        if self._bar is not None and self._lines.isatty():
            self._bar.stop()
        self._lines.write(f"{line}\n")
        self._lines.flush()
        if self._bar is not None and self._lines.isatty():
            self._start(self._bar)

    def _show(self, name: str, done: int, total: int) -> None:
        if self._bar is None and sys.stderr.isatty():
            from batch.base.tables import shortened

            self._bar = _made()
            self._task = self._bar.add_task(shortened(one_line(visible(name)), _NAME), total=total)
            self._start(self._bar)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        if done >= total:
            self._close()

    @staticmethod
    def _start(bar: Progress) -> None:
        bar.start()
        bar.console.show_cursor(True)  # who is killed leaves the terminal as it was

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _made() -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from batch.base import tables

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=tables.console(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=True,
        expand=True,
    )
