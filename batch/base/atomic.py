"""Publish a file whole or not at all.

Temp file in the same folder (exclusive, named after its runner), fsync, ``os.replace``, fsync of the
folder, and of its parent where the folder is new. Costs twice the space for a moment. On Windows a scanner
or viewer may hold the target open for a moment, so the replace is retried; a folder cannot be synced there
and need not be.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from batch.base import walk

TEMP_SUFFIX = ".part"
_TEMP = re.compile(rf"\.[0-9a-f]{{12}}\.(.*){re.escape(TEMP_SUFFIX)}$")
_BUSY = {5, 32}
"""Windows: access denied, sharing violation."""


def write(path: Path, data: bytes | memoryview, runner: str = "any", *, durable: bool = True) -> None:
    """Write ``data`` to ``path``. Raises OSError, and then leaves no temp file and the old file as it was.

    Not ``durable``: without a sync, for what can be made again. It still appears whole or not at all to other
    processes, whoever is killed; a machine that loses its power may leave it torn.
    """
    write_parts(path, (data,), runner, durable=durable)


def write_parts(
    path: Path, parts: Iterable[bytes | memoryview], runner: str = "any", *, durable: bool = True
) -> None:
    """As :func:`write`, of parts that need not be in memory together."""
    part = part_of(path, runner)
    try:
        with _create(part) as file:
            for data in parts:
                file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        _replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):  # which nobody knows
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    if durable:
        _sync_folder(path.parent)


def part_of(path: Path, runner: str) -> Path:
    """A new name for a temp file beside a file, which :func:`sweep` knows."""
    return path.parent / f".{secrets.token_hex(6)}.{runner}{TEMP_SUFFIX}"


def _create(part: Path) -> BinaryIO:
    """A new file. Its folder is there nearly always: it is made, and asked for, only where it is not."""
    try:
        return part.open("xb")
    except FileNotFoundError:
        _make_folder(part.parent)
        return part.open("xb")


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a log; for what may be lost. Raises OSError, and may then leave a part of the line.

    Whoever was killed in the middle of a line left it without an end: the next one begins on a new line.
    """
    with open_own(path) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line + b"\n")


def open_own(path: Path, *, empty: bool = False) -> BinaryIO:
    """A log to read and to append to, made where there is none, emptied on request. Raises OSError.

    It is that file and no other: links are not followed, pipes not waited for, and a file that has a second name
    somewhere (a hard link) is replaced by a copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():  # Windows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    descriptor = os.open(path, _OWN, 0o666)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    file = os.fdopen(descriptor, "ab+")
    if status.st_nlink > 1:
        with file:
            file.seek(0)
            write(path, b"" if empty else file.read(), durable=False)
        return open_own(path)
    if empty:
        file.truncate(0)
    return file


_OWN = os.O_RDWR | os.O_CREAT | os.O_APPEND
for _name in ("O_BINARY", "O_NOINHERIT", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):
    _OWN |= getattr(os, _name, 0)


def move(source: Path, target: Path) -> None:
    """Move a file within one file system: it is at one of the two places at any moment. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(source, target)
    _sync_folder(target.parent)
    _sync_folder(source.parent)


def _replace(part: Path, path: Path) -> None:
    size = part.stat().st_size
    for attempt in range(10):
        try:
            os.replace(part, path)  # noqa: PTH105 - the call whose guarantees matter here
            return
        except FileNotFoundError:
            # NFS may repeat a rename whose answer was lost and then report that the source is gone.
            if path.is_file() and path.stat().st_size == size and not part.exists():
                return
            raise
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _BUSY or attempt == 9:
                raise
            time.sleep(0.05 * (attempt + 1))


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot sync a folder
        pass
    finally:
        os.close(descriptor)


def sweep(root: Path, runner: str, *, own: bool) -> int:
    """Remove temp files of every other runner, all gone, or of its ``own``. Call it under the run's lock only.

    Workers are runners of their own, named ``<runner>-<number>``: those of a runner are its own.
    """
    removed = 0
    for part in walk.files_below(root):
        found = _TEMP.match(part.name)
        if found and (found[1] == runner or found[1].startswith(f"{runner}-")) == own:
            with suppress(OSError):
                part.unlink()
                removed += 1
    return removed
