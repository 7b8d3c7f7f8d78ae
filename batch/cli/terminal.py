"""The terminal: what is said on which stream, streams that lead nowhere, and the signals that end a command."""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import TYPE_CHECKING, TextIO

import click

from batch.base import errors
from batch.base.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable

    from batch.records.events import Listener
    from batch.run.steering import Steering


_WORD_S = 0.05
"""A last word has so long."""
_ENDED = b"\nended at once; run the same command again to go on\n"


def show(*parts: str | ConsoleRenderable) -> None:
    """What was asked for, on stdout. Texts of others may be in it: what a terminal would obey is made visible."""
    for part in parts:
        put(part, sys.stdout)


def say(text: str) -> None:
    """A line for people on stderr: stdout is for what was asked for. Where nobody can read it, it goes nowhere."""
    with suppress(OSError, ValueError):
        put(text, sys.stderr)


def put(part: str | ConsoleRenderable, stream: TextIO) -> None:
    """Where a terminal would break a line within a word, it is folded between words. Raises OSError."""
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


def let_go() -> None:
    """Streams that cannot be written lead nowhere: what is in their buffers would raise when the program ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end() -> None:
    """End the process from a signal handler, with a word that takes no lock and that no full pipe can hold up."""
    with suppress(RuntimeError):
        _thread.start_new_thread(os.write, (2, _ENDED))
        time.sleep(_WORD_S)
    os._exit(errors.EXIT_INTERRUPTED)


@contextmanager
def stoppable(events: Listener | None = None) -> Iterator[Steering]:
    """Ctrl-C, SIGTERM or the end of the terminal steer a run; the third time they end the process at once.

    ``events`` are told, in place of people, what a run does not tell that listens to nobody just then.
    """
    from batch.run.steering import Steering
    from batch.run.stopping import Level

    stop, ended = Steering(), False

    def on_signal() -> None:
        nonlocal ended
        if ended:  # a signal during the last word
            return
        told = stop.interrupt()
        if stop.level == Level.KILL:
            ended = True
            _end()
        with suppress(OSError, RuntimeError, ValueError):  # the terminal is gone, or in the middle of a line
            if told is not None and events is not None:
                events.on(told)
            elif told is not None:
                say(f"\n{told.text}{told.hint}")
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
