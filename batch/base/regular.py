"""Files that somebody else may have put there: regular ones alone, and no more of them than can be meant.

Opening a named pipe waits for whoever writes into it, and a device may never end. So a file is opened without
waiting and looked at when it is open: what was a file a moment ago may be something else by now.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from batch.base import drives

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)

_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class NotAFile(OSError):  # noqa: N818 - reads as what it is
    """It is there, and no regular file: a folder, a pipe, a socket, a device."""


class TooLarge(ValueError):  # noqa: N818
    """It holds more than is read of a file of its kind."""


def opened(path: Path) -> BufferedReader:
    """A regular file, open for reading. Raises OSError, :class:`NotAFile` among them."""
    return os.fdopen(_open(path)[0], "rb")


_REPLACED = {errno.EBADF, getattr(errno, "ESTALE", errno.EBADF)}
"""On NFS, of a file that another host has replaced since it was opened."""


def read(path: Path, limit: int) -> bytes:
    """All that a regular file holds. Raises OSError, and :class:`TooLarge` above ``limit`` bytes."""
    try:
        return _read(path, limit)
    except OSError as error:
        if error.errno not in _REPLACED:
            raise
        return _read(path, limit)


def _read(path: Path, limit: int) -> bytes:
    number, size = _open(path)
    try:
        if size > limit:
            raise TooLarge(f"it has {size:,} bytes, and no more than {limit:,} are read")
        data = os.read(number, size + 1)
        if len(data) == size:
            return data
        # It is longer or shorter than it was a moment ago, or of a file system that does not know.
        parts = [data]
        while data and (size := sum(map(len, parts))) <= limit:
            data = os.read(number, limit + 1 - size)
            parts.append(data)
        if size > limit:
            raise TooLarge(f"it has more than {limit:,} bytes")
        return b"".join(parts)
    finally:
        os.close(number)


def kind(path: Path) -> str:
    """What lies there where no regular file can be read, in words. Raises OSError where nothing does."""
    return _KINDS.get(stat.S_IFMT(path.lstat().st_mode), "a file that cannot be read")


def _open(path: Path) -> tuple[int, int]:
    """The descriptor and the size in bytes."""
    try:
        number = os.open(path, _FLAGS)
    except FileNotFoundError:  # as far as a network drive has told
        drives.look_again(path.parent)
        number = os.open(path, _FLAGS)
    found = os.fstat(number)
    if stat.S_ISREG(found.st_mode):
        return number, found.st_size
    os.close(number)
    raise NotAFile(f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
