"""The terminal: what is said on which stream, streams that lead nowhere, and the signals that end a command."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, TextIO

import click

from batch.base import errors
from batch.base.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable

    from batch.run.steering import Steering


def program() -> str:
    """How this program was called, for hints that can be pasted."""
    called = Path(sys.argv[0]).name
    return "python run_batch.py" if called == "run_batch.py" else "run-batch"


def quoted(path: Path) -> str:
    """A path in such a hint."""
    return f'"{path}"' if " " in str(path) else str(path)


def show(*parts: str | ConsoleRenderable) -> None:
    """What was asked for, on stdout. Texts of others may be in it: what a terminal would obey is made visible."""
    for part in parts:
        _put(part, sys.stdout)


def say(text: str) -> None:
    """A line for people on stderr: stdout is for what was asked for."""
    _put(text, sys.stderr)


def _put(part: str | ConsoleRenderable, stream: TextIO) -> None:
    """Where a terminal would break a line within a word, it is folded between words."""
    here = stream.isatty()
    if isinstance(part, str):
        longest = max(map(len, part.splitlines()), default=0)
        if not here or 2 * longest <= get_terminal_size().columns:  # a character takes two cells at most
            click.echo(visible(part), file=stream)
            return
    from batch.base import tables

    for item in tables.lines(part) if isinstance(part, str) else (part,):
        text = tables.coloured(item, stream) if here else tables.plain(item) + "\n"
        click.echo(text, file=stream, nl=False)  # through the stream, which may have bars below it


def above(console: Console, text: str, style: str = "") -> None:
    """A line that stays above the bars of a console."""
    from batch.base.tables import Paragraph

    console.print(Paragraph(one_line(text), style), crop=False)


def waiting(text: str) -> None:
    """Say why nothing happens for a while."""
    say(f"{text} …")


def print_json(data: object) -> None:
    """What ``--json`` asks for, on stdout."""
    click.echo(json_text(data, indent=2))


def json_text(data: object, indent: int | None = None) -> str:
    """JSON as it is printed: the same data, and nothing in it that a terminal would obey."""
    return visible(json.dumps(data, indent=indent, ensure_ascii=False))


def open_streams() -> None:
    """Streams that were closed lead nowhere: else the next file opened would be written what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a prompt's characters


def into_nothing(stream: TextIO) -> None:
    """What is still in the stream's buffer would raise again when the program ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def stoppable() -> Iterator[Steering]:
    """Ctrl-C, SIGTERM or the end of the terminal steer a run; the third time they end the process at once."""
    from batch.run.steering import Level, Steering

    stop = Steering()

    def on_signal() -> None:
        words = stop.interrupt()
        if stop.level == Level.KILL:
            os._exit(errors.EXIT_INTERRUPTED)
        if words:
            with suppress(OSError, RuntimeError, ValueError):  # the terminal is gone, or in the middle of a line
                say(f"\n{words}")
        stop.leave_report()

    with signalled(on_signal):
        yield stop


@contextmanager
def signalled(on_signal: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and the end of the terminal call a function."""
    there = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    if "SIGHUP" in there and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        there.remove("SIGHUP")  # nohup says that the end of the terminal shall change nothing
    numbers = [getattr(signal, name) for name in there]
    before = {number: signal.signal(number, lambda *_: on_signal()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
