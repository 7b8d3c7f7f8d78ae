"""One runner per run folder. The kernel frees the lock when its process dies, however it dies.

The kernel's lock is that of a file, so it holds for every name of the folder, and says nothing once the file is
deleted; on a network drive it may not reach other hosts. Therefore a runner looks before each image that it keeps
whether the lock is still the file that it locked and ``lock.json`` still its own (:func:`check`), and
``lock.json`` of another host counts for as long as it is refreshed, by the clock of the drive.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from batch.base import atomic, disk, drives
from batch.base.errors import FolderLocked, FolderLost, UserError
from batch.base.shell import typed
from batch.base.text import timestamp
from batch.records.spec import Held
from batch.store import files, kernel, signs
from batch.store.holders import NAMELESS, Holder, in_use, locked, named, root_of

LOCK, HOLDER = "lock", "lock.json"

ASKED_S = 0.2
"""Who asks whether the lock is held has it for a moment; a runner that begins just then tries once more."""
SETTLE_S = 2.0
"""Two hosts may find a third one silent in the same moment: so long after, both see who was the last to write."""
SLACK_S = 2.0
"""Linux counts a process's start from the start of the machine, which it knows to the second."""


@contextmanager
def hold(state: Path) -> Iterator[Held]:
    """Hold the folder's lock. Raises :class:`FolderLocked`, which says who holds it; OSError on a full disk."""
    lock = _acquire(state)
    token = secrets.token_hex(8)
    # Beside the lock, not in it: on Windows a locked file cannot be read by others.
    data = json.dumps(_myself(token)).encode()
    try:
        with disk.must_be_writable(state.parent):
            note = _claim(state, token, data)
        with _beating(state, data):
            yield Held(file=_identity(state), machine=_machine(), token=token, note=note)
    finally:
        with suppress(OSError):
            if _token(state) == token:
                (state / HOLDER).unlink()
        lock.release()


def check(state: Path, held: Held) -> None:
    """Raise :class:`FolderLost` where a holder's lock was removed, replaced, or taken by another."""
    other = _read(state)
    if other is not None and other.get("token") != held.token:
        raise FolderLost(f"the lock of {locked(state)} was taken by {named(other)}. {_KEPT}")
    try:
        now = _identity(state)
    except OSError as error:
        if error.errno not in _GONE:  # a drive that does not answer just now
            return
        if not root_of(state).exists():
            raise FolderLost(
                f"{root_of(state)} is gone, and with it all that this runner had saved there"
            ) from None
        raise FolderLost(f"the lock of {locked(state)} was removed: {state / LOCK} is gone. {_KEPT}") from None
    if now == held.file or held.file is None or now is None or held.machine != _machine():
        return
    if other is None or now[0] == held.file[0]:  # else it is the same drive, mounted a second time
        raise FolderLost(f"the lock of {locked(state)} was replaced: {state / LOCK} is another file. {_KEPT}")


def holder(state: Path) -> Holder | None:
    """Who is running here; None when nobody is, as far as can be seen from here.

    On this machine the kernel knows whether the lock is held, whatever ``lock.json`` says: that stays behind when
    a run is killed, and comes along when a folder is copied. Nothing is written, unless to learn what time it is
    where the holder is on another host.
    """
    who, held = _read(state), kernel.is_held(state / LOCK)
    if who is None:
        return Holder(host=platform.node(), pid=0, since="", command="") if held else None
    if held or (held is None and _lives(who)):
        return who
    # A lock that is free says nothing of another host, which it may not reach.
    return who if not _is_here(state, who) and signs.are_given(state / HOLDER) else None


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


# Taking it


def _acquire(state: Path) -> BaseFileLock:
    lock = FileLock(state / LOCK)
    with disk.must_be_writable(state.parent):
        state.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=ASKED_S, poll_interval=ASKED_S / 4)
        except Timeout:
            other = holder(state)
            by = NAMELESS if other is None else in_use(state, other)
            raise FolderLocked(f"{locked(state)} is in use by {by}") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise UserError(
                f"{locked(state)} cannot be locked: {error.strerror}. If it is on NFS, mount it with vers=4.2, "
                "or start rpc.statd; or with nolock, where hosts know of one another by .run/lock.json alone"
            ) from None
    return lock


_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, getattr(errno, "ENOTSUP", errno.ENOSYS), errno.EOPNOTSUPP}


def _claim(state: Path, token: str, data: bytes) -> str:
    """Write down who holds the lock, and return a note as of :func:`_predecessor`.

    The kernel's lock may not reach a host that does so in the same moment.
    """
    path = state / HOLDER
    note = _predecessor(state)
    try:
        if not os.path.lexists(path):
            atomic.write_new(path, data)
            return note
    except FileExistsError:  # just now, or what is there cannot be read
        note = _predecessor(state)
    atomic.write(path, data)
    if note:
        time.sleep(SETTLE_S)
        if (other := _read(state)) is not None and other.get("token") != token:
            raise FolderLocked(f"{locked(state)} is in use by {in_use(state, other)}")
    return note


def _predecessor(state: Path) -> str:
    """A note on a holder on another host that went silent; "" without one.

    Raises :class:`FolderLocked` for one that is alive: then the kernel's lock does not reach it.
    """
    other = _read(state)
    if other is None or _is_here(state, other):
        return ""
    if signs.are_given(state / HOLDER):
        raise FolderLocked(
            f"{locked(state)} is in use by {in_use(state, other)}. If that machine is gone, "
            f"the folder is free {signs.SILENT_S:.0f} s after its last sign of life"
        )
    return f"{locked(state)} was left by {named(other)}, which has given no sign of life since"


def _is_here(state: Path, other: Holder) -> bool:
    """Whether the kernel's lock reaches a holder: then it is gone where the lock is free."""
    mine, its = boot(), other.get("boot", "")
    if "" not in (mine, its):
        return mine == its or (other["host"] == platform.node() and signs.are_from_before(state / HOLDER))
    return other["host"] == platform.node()


def _machine() -> str:
    return boot() or platform.node()


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
        "command": typed(),
        "token": token,
        "boot": boot(),
        "started": psutil.Process().create_time(),
    }


# Keeping it


@contextmanager
def _beating(state: Path, data: bytes) -> Iterator[None]:
    """Refresh ``lock.json``, which holds ``data``, for as long as it is this holder's."""
    done, file = threading.Event(), _identity(state)

    def beat() -> None:
        while not done.wait(signs.BEAT_S):
            with suppress(OSError):
                if _read(state) is not None:
                    signs.give(state / HOLDER, data)
                elif _identity(state) == file:
                    _write_again(state / HOLDER, data)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _write_again(path: Path, data: bytes) -> None:
    """Whoever has deleted or spoilt it, without it nobody can tell who is at work here. Raises OSError."""
    try:
        path.read_bytes()
    except FileNotFoundError:
        atomic.write_new(path, data)
    else:
        atomic.write(path, data)


def _identity(state: Path) -> tuple[int, int] | None:
    try:
        status = (state / LOCK).stat()
    except FileNotFoundError:  # as far as a network drive has told
        drives.look_again(state)
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


_KEPT = (
    "This runner has written nothing since, and drops what it had rendered; what was saved before is there. "
    "The same command goes on, once no other runner is at work there"
)
_GONE = {errno.ENOENT, errno.ENOTDIR, getattr(errno, "ESTALE", errno.ENOENT)}
