"""Who holds the lock of a run folder or of a shard, and how people are told of it."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from batch.base.shell import quoted
from batch.base.text import by_clock


class Holder(TypedDict):
    """Who holds a folder's lock, as ``lock.json`` says."""

    host: str
    pid: int
    """0: it has not written that down yet, or what it wrote was deleted."""
    since: str
    """UTC, ISO 8601."""
    command: str
    """Without the addresses of who is told."""
    token: NotRequired[str]
    """Drawn by the holder: what tells two apart wherever they run."""
    boot: NotRequired[str]
    """Which start of which machine: containers have hosts of their own, and share the kernel's lock."""
    started: NotRequired[float]
    """When the process began, in seconds since 1970 as the system says it: numbers of processes come again."""


NAMELESS = "another runner that has just started"


def named(who: Holder) -> str:
    """``another runner: process 4711 on node7, started 02:10``."""
    if not who["pid"]:
        return NAMELESS
    return f"another runner: process {who['pid']} on {who['host']}, started {by_clock(who['since'])}"


def place(who: Holder) -> str:
    """``node7 (process 4711)`` for people."""
    return f"{who['host']} (process {who['pid']})" if who["pid"] else f"{who['host']} (just started)"


def locked(state: Path) -> str:
    """What a lock is for: ``outputs/night``; of a shard's lock ``shard 2/8 of outputs/night``."""
    return f"shard {_shard(state)} of {root_of(state)}" if _shard(state) else str(root_of(state))


def _shard(state: Path) -> str:
    """``2/8``, of the folder where a shard has its lock; else empty."""
    return "" if state.name == ".run" else state.name.replace("-of-", "/")


def root_of(state: Path) -> Path:
    """The run folder."""
    return next((path.parent for path in (state, *state.parents) if path.name == ".run"), state.parent)


def in_use(state: Path, who: Holder) -> str:
    """Whom it is in use by; what to do stands before the command, which may be long."""
    if not who["pid"]:
        return f"{named(who)}; try again in a moment"
    stop = f"stop {quoted(root_of(state))}" + (f" --shard {_shard(state)}" if _shard(state) else "")
    return f"{named(who)}; wait for it, or `{stop}`. It was started as: {who['command']}"
