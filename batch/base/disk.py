"""Room on the disk: how much there is, and whether an error means that there is none."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.base.errors import DiskFull, UserError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""No space left; the user's quota is used up. Python maps Windows' full disk to the first."""
_SAID = re.compile(r"No space left on device|\(os error (28|112|122)\)|Disk quota exceeded")
"""The same in the words of libraries that are not written in Python."""


def free(path: Path) -> int | None:
    """Bytes this user may still write where ``path`` is or would be made; None where that cannot be asked."""
    try:
        return shutil.disk_usage(_existing(path)).free
    except OSError:
        return None


def writable(path: Path) -> bool:
    """Whether this user may write where ``path`` is or would be made."""
    try:
        return os.access(_existing(path), os.W_OK)
    except OSError:
        return False


def _existing(path: Path) -> Path:
    """``path``, or its nearest parent that is there. Raises OSError, also where none is (a drive that is gone)."""
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return folder
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def is_full(error: BaseException) -> bool:
    """Whether a write failed because no space, or no quota, is left."""
    return isinstance(error, OSError) and error.errno in _FULL


def says_full(text: str) -> bool:
    """Whether a library's message says the same."""
    return _SAID.search(text) is not None


@contextmanager
def must_be_writable(root: Path) -> Iterator[None]:
    """Turn a write that is not allowed into :class:`UserError`; a full disk is another matter."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise
        # The folder that the refused file would be in may be one inside: another file system, another's.
        inside = isinstance(error.filename, str) and Path(error.filename).parent
        where = inside if inside and inside.is_relative_to(root) else root
        raise UserError(f"{where} cannot be written: {error.strerror or error}") from None


@contextmanager
def stops_when_full(root: Path) -> Iterator[None]:
    """Turn a write that fails for want of space into :class:`DiskFull`: the run ends and can go on later."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFull(
            f"the disk of {root} is full ({error.strerror or error}). Make room and run the same command again"
        ) from None
