"""One runner per run folder. The kernel frees the lock when its process dies, however it dies."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from batch.base import atomic, disk
from batch.base.errors import FolderLocked, UserError


@contextmanager
def hold(state: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises :class:`FolderLocked`, which says who holds it; OSError on a full disk."""
    lock = FileLock(state / "lock")
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderLocked(f"{state.parent} is in use by {_described(holder(state))}") from None
    except OSError as error:
        if disk.is_full(error):
            raise
        raise UserError(f"{state.parent} cannot be written: {error.strerror or error}") from None
    who = {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(_shown(sys.argv)),
    }
    try:
        # Beside the lock, not in it: on Windows a locked file cannot be read by others.
        atomic.write(state / "lock.json", json.dumps(who).encode())
        yield
    finally:
        with suppress(OSError):
            (state / "lock.json").unlink()
        lock.release()


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


def holder(state: Path) -> dict[str, Any] | None:
    """Who says it is running here; None when nobody does, or when that process is gone from this host."""
    import psutil

    try:
        who = json.loads((state / "lock.json").read_text(encoding="utf-8"))
        if who["host"] == platform.node() and not psutil.pid_exists(int(who["pid"])):
            return None
        return {str(key): value for key, value in who.items()}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _described(who: dict[str, Any] | None) -> str:
    if who is None:
        return "another runner that has just started"
    return (
        f"another runner: process {who.get('pid')} on {who.get('host')}, started {who.get('since')} as\n"
        f"    {who.get('command')}\nwait for it, or stop it first"
    )
