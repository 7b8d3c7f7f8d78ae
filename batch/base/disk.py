"""Room on the disk: how much there is, and whether an error means that there is none."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""No space left; the user's quota is used up. Python maps Windows' full disk to the first."""


def existing(path: Path) -> Path:
    """``path``, or its nearest parent that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def free(path: Path) -> int:
    """Bytes this user may still write where ``path`` is or would be made. Raises OSError."""
    return shutil.disk_usage(existing(path)).free


def is_full(error: OSError) -> bool:
    """Whether a write failed because no space, or no quota, is left."""
    return error.errno in _FULL
