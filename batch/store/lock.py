"""One runner per run folder. The kernel frees the lock when its process dies, however it dies."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from typing_extensions import TypedDict

from batch.base import atomic, disk
from batch.base.errors import FolderLocked, UserError
from batch.base.text import timestamp
from batch.store import files


class Holder(TypedDict):
    """Who holds a folder's lock, as ``lock.json`` says."""

    host: str
    pid: int
    since: str
    """UTC, ISO 8601."""
    command: str
    """Without the addresses of who is told."""


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises :class:`FolderLocked`, which says who holds it; OSError on a full disk."""
    lock = FileLock(state / "lock")
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        by, other = "another runner that has just started", holder(state)
        if other is not None:
            by = (
                f"another runner: process {other['pid']} on {other['host']}, started {other['since']} as\n"
                f"    {other['command']}\nwait for it, or stop it first"
            )
        raise FolderLocked(f"{state.parent} is in use by {by}") from None
    except OSError as error:
        if disk.is_full(error):
            raise
        raise UserError(f"{state.parent} cannot be written: {error.strerror or error}") from None
    who: Holder = {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": timestamp(),
        "command": command(),
    }
    try:
        # Beside the lock, not in it: on Windows a locked file cannot be read by others.
        atomic.write(state / "lock.json", json.dumps(who).encode())
        yield
    finally:
        with suppress(OSError):
            (state / "lock.json").unlink()
        lock.release()


def command() -> str:
    """What was typed to start this process, without the addresses of who is told."""
    return " ".join(_shown(sys.argv))


def _shown(words: Sequence[str]) -> Iterator[str]:
    """A command's words without the addresses of who is told, which are often secrets."""
    for before, word in zip(["", *words], words, strict=False):
        told = re.match(r"(--notify=|--set=notify=)", word)
        if before == "--notify":
            yield "…"
        elif told is not None:
            yield f"{told[1]}…"
        elif before == "--set" and word.replace(" ", "").startswith("notify="):
            yield "notify=…"
        else:
            yield word


def holder(state: Path) -> Holder | None:
    """Who says it is running here; None when nobody does, or when that process is gone from this host."""
    import psutil

    try:
        who = files.read(Holder, state / "lock.json")
        gone = who["host"] == platform.node() and not psutil.pid_exists(who["pid"])
    except (*files.UNREADABLE, OverflowError):  # a number that is no process
        return None
    return None if gone else who
