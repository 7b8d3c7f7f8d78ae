"""``status --watch``: how far a run is, anew every two seconds, until it is over or q is pressed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.text import one_line
from batch.cli.standing import at_this_moment, summary_parts
from batch.cli.terminal import show
from batch.store.status import summarize

if TYPE_CHECKING:
    from rich.console import Console

    from batch.base.tables import Paragraph
    from batch.store.status import Summary

EVERY_S = 2.0
SHARE = 10
"""A large folder takes longer to read: of the time no more than one part in so many."""

Pressed = Callable[[float], str]
"""Waits so many seconds for a key, and says which; nothing where none was pressed."""


def watch(root: Path) -> None:
    """Ends by itself when no run is going on in the folder, and at Ctrl-C."""
    try:
        if sys.stdout.isatty():
            _on_terminal(root)
        else:
            _as_lines(root)
    except KeyboardInterrupt:
        return


def _on_terminal(root: Path) -> None:
    from rich.console import Group
    from rich.live import Live

    from batch.base import tables

    screen = tables.console(sys.stdout)
    with _keys() as pressed, Live(console=screen, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for summary, rest in _moments(root):
            shown = [*summary_parts(summary)]
            if summary.running:  # else it stays there, and is read to its end
                last = tables.Paragraph("  q ends this, and not the run", "dim")
                shown = [*fitting(shown, screen, screen.height - 1 - _rows(last, screen)), last]
            live.update(Group(*shown), refresh=True)
            if summary.running and pressed(rest).lower() == "q":
                return


def fitting(parts: Sequence[Paragraph], screen: Console, rows: int) -> list[Paragraph]:
    """As many of these as fit in so many rows: long ones are cut first, then those at the end left out."""
    for most in (3, 2, 1):
        if sum(_rows(part, screen) for part in parts) <= rows:
            return [*parts]
        parts = [_cut(part, screen, most) for part in parts]
    if len(parts) <= rows:
        return [*parts]
    return [*parts[: max(1, rows - 1)], _cut(replace(parts[0], line="  … `status` says more"), screen, 1)]


def _rows(part: Paragraph, screen: Console) -> int:
    return len(screen.render_lines(part, pad=False))


def _cut(part: Paragraph, screen: Console, rows: int) -> Paragraph:
    """With so much of its beginning as fits in so many rows."""
    from rich.cells import cell_len, set_cell_size

    room = min(cell_len(part.line), rows * screen.width)
    while _rows(part, screen) > rows and room > 1:
        room -= 1
        part = replace(part, line=f"{set_cell_size(part.line, room).rstrip(' …')}…")
    return part


def _as_lines(root: Path) -> None:
    """A line at each change."""
    before = ""
    for summary, rest in _moments(root):
        if (line := _line(summary)) != before:
            show(f"{datetime.now().astimezone():%H:%M:%S} {line}")
            before = line
        if summary.running:
            time.sleep(rest)


def _moments(root: Path) -> Iterator[tuple[Summary, float]]:
    """What is there, with how long to wait before the next look; the last one when no run is going on."""
    while True:
        start = time.monotonic()
        summary = summarize(root)
        yield summary, max(EVERY_S, SHARE * (time.monotonic() - start))
        if summary.running is None:
            return


def _line(summary: Summary) -> str:
    failed = f"{summary.failed} failed" if summary.failed else ""
    left = f"{summary.to_render} to render" if summary.to_render else ""
    at = at_this_moment(summary).partition(",")[0] or ("running" if summary.running else "not running")
    parts = [f"{summary.name}: {summary.done} of {summary.total} done", failed, left, at]
    return one_line(", ".join(filter(None, parts)))


@contextmanager
def _keys() -> Iterator[Pressed]:
    """Keys as they are pressed, without a line end behind them."""
    if not sys.stdin.isatty():
        yield _sleep
    elif sys.platform == "win32":
        yield _windows_key
    else:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSANOW)  # a key pressed before counts
        try:
            yield _key
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _key(seconds: float) -> str:
    import os
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


def _windows_key(seconds: float) -> str:
    import msvcrt

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if msvcrt.kbhit():  # type: ignore[attr-defined, unused-ignore]
            return str(msvcrt.getwch())  # type: ignore[attr-defined, unused-ignore]
        time.sleep(0.05)
    return ""
