"""One runner per run folder. The kernel frees the lock when its process dies, however it dies.

The kernel's lock is that of a file, so it holds for every name of the folder, and says nothing once the file is
deleted; on a network drive it may not reach other hosts. Therefore a runner looks before each image that it keeps
whether the lock is still the file that it locked and ``lock.json`` still its own (:func:`check`), and
``lock.json`` of another host counts for as long as it is refreshed.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NotRequired

from filelock import BaseFileLock, FileLock, Timeout
from typing_extensions import TypedDict

from batch.base import atomic, disk, regular
from batch.base.errors import FolderLocked, FolderLost
from batch.base.text import timestamp
from batch.records.spec import Held
from batch.store import files

LOCK, HOLDER = "lock", "lock.json"

BEAT_S = 20.0
"""Seconds between two signs of life of a holder."""
SILENT_S = 120.0
"""A holder on another host that gave none for so long is gone. A network drive may show times a minute late."""
ASKED_S = 0.2
"""Who asks whether the lock is held has it for a moment; a runner that begins just then tries once more."""
SLACK_S = 2.0
"""Linux counts a process's start from the start of the machine, which it knows to the second."""


class Holder(TypedDict):
    """Who holds a folder's lock, as ``lock.json`` says."""

    host: str
    pid: int
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


@contextmanager
def hold(state: Path) -> Iterator[Held]:
    """Hold the folder's lock. Raises :class:`FolderLocked`, which says who holds it; OSError on a full disk."""
    lock = _acquire(state)
    token = secrets.token_hex(8)
    try:
        note = _predecessor(state)
        # Beside the lock, not in it: on Windows a locked file cannot be read by others.
        with disk.must_be_writable(state.parent):
            atomic.write(state / HOLDER, json.dumps(_myself(token)).encode())
        with _beating(state, token):
            yield Held(file=_identity(state), token=token, note=note)
    finally:
        with suppress(OSError):
            if _token(state) == token:
                (state / HOLDER).unlink()
        lock.release()


def check(state: Path, held: Held) -> None:
    """Raise :class:`FolderLost` where a holder's lock was removed, replaced, or taken by another."""
    other = _read(state)
    if other is not None and other.get("token") != held.token:
        raise FolderLost(f"the lock of {_place(state)} was taken by {_named(other)}. {_KEPT}")
    try:
        now = _identity(state)
    except OSError as error:
        if error.errno not in _GONE:  # a drive that does not answer just now
            return
        raise FolderLost(f"the lock of {_place(state)} was removed: {state / LOCK} is gone. {_KEPT}") from None
    if now != held.file:
        raise FolderLost(f"the lock of {_place(state)} was replaced: {state / LOCK} is another file. {_KEPT}")


def holder(state: Path) -> Holder | None:
    """Who is running here; None when nobody is, as far as can be seen from here.

    On this machine the kernel knows whether the lock is held, whatever ``lock.json`` says: that stays behind when
    a run is killed, and comes along when a folder is copied. Nothing is written.
    """
    who = _read(state)
    if who is None:
        return None
    if _is_here(who):
        held = _is_held(state / LOCK)
        return who if held or (held is None and _lives(who)) else None
    with suppress(OSError):
        if abs(time.time() - (state / HOLDER).stat().st_mtime) < SILENT_S:
            return who
    return None


def _lives(who: Holder) -> bool:
    """Whether its process does: the one that wrote it down, and no later one of that number."""
    import psutil

    if who["host"] != platform.node() or who.get("boot", boot()) != boot():
        return False
    try:
        process = psutil.Process(who["pid"])
        began = process.create_time()
        return process.status() != psutil.STATUS_ZOMBIE and abs(who.get("started", began) - began) <= SLACK_S
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, OverflowError):  # gone, or a number that is no process
        return False


if sys.platform == "win32":

    def _is_held(path: Path) -> bool | None:
        """Whether a process of this machine holds a lock; None where that cannot be asked."""
        if not path.is_file():
            return None
        try:
            with FileLock(path).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return None

else:

    def _is_held(path: Path) -> bool | None:
        """Whether a process of this machine holds a lock; None where that cannot be asked."""
        import fcntl

        try:
            with regular.opened(path) as file:
                # Shared, so that two who ask do not see one another.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False


# Taking it


def _acquire(state: Path) -> BaseFileLock:
    lock = FileLock(state / LOCK)
    with disk.must_be_writable(state.parent):
        state.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=ASKED_S, poll_interval=ASKED_S / 4)
        except Timeout:
            other = holder(state)
            by = "another runner that has just started" if other is None else in_use(state, other)
            raise FolderLocked(f"{_place(state)} is in use by {by}") from None
    return lock


def _predecessor(state: Path) -> str:
    """A note on a holder on another host that went silent; "" without one.

    Raises :class:`FolderLocked` for one that is alive: then the kernel's lock does not reach it.
    """
    other = _read(state)
    if other is None or _is_here(other):
        return ""
    (state / LOCK).touch()  # what time it is by the clock that dates lock.json
    age = (state / LOCK).stat().st_mtime - (state / HOLDER).stat().st_mtime
    if abs(age) < SILENT_S:
        raise FolderLocked(
            f"{_place(state)} is in use by {in_use(state, other)}. If that machine is gone, "
            f"the folder is free {SILENT_S:.0f} s after its last sign of life"
        )
    return f"{_place(state)} was left by {_named(other)}, which has given no sign of life since"


def _is_here(other: Holder) -> bool:
    """Whether the kernel's lock reaches a holder: then it is gone, for the lock was free."""
    return other["host"] == platform.node() or other.get("boot", "") == boot() != ""


def boot() -> str:
    """Which start of the machine this is; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return ""


def _myself(token: str) -> Holder:
    import psutil

    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": timestamp(),
        "command": command(),
        "token": token,
        "boot": boot(),
        "started": psutil.Process().create_time(),
    }


# Keeping it


@contextmanager
def _beating(state: Path, token: str) -> Iterator[None]:
    """Refresh ``lock.json`` for as long as it is this holder's."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_S):
            with suppress(OSError):
                if _token(state) == token:
                    os.utime(state / HOLDER)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _identity(state: Path) -> tuple[int, int] | None:
    status = (state / LOCK).stat()
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _token(state: Path) -> str:
    holder = _read(state)
    return holder.get("token", "") if holder else ""


def _read(state: Path) -> Holder | None:
    try:
        return files.read(Holder, state / HOLDER)
    except files.UNREADABLE:
        return None


# For people


_KEPT = (
    "This runner has written nothing since, and drops what it had rendered; what was saved before is there. "
    "The same command goes on, once no other runner is at work there"
)
_GONE = {errno.ENOENT, errno.ENOTDIR, getattr(errno, "ESTALE", errno.ENOENT)}


def _named(who: Holder) -> str:
    return f"another runner: process {who['pid']} on {who['host']}, started {who['since']}"


def _place(state: Path) -> str:
    """``outputs/night``; of a shard's lock ``shard 2-of-8 of outputs/night``."""
    return f"shard {state.name} of {_root(state)}" if state.name != ".run" else str(_root(state))


def _root(state: Path) -> Path:
    return next((path.parent for path in (state, *state.parents) if path.name == ".run"), state.parent)


def in_use(state: Path, who: Holder) -> str:
    """Whom it is in use by; what to do stands before the command, which may be long."""
    return f"{_named(who)}; wait for it, or `stop {_root(state)}`. It was started as: {who['command']}"


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
