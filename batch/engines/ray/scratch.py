"""Folders of a worker's host for as long as it lives, beside no run folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "run_batch-ray-"


def make() -> Path:
    """A new one of this process."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def remove(folder: Path) -> None:
    """As far as it can be."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove those of processes that are gone: they were killed."""
    import psutil

    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        with suppress(OSError, ValueError):
            pid = int(folder.name.removeprefix(_PREFIX).split("-")[0])
            mine = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if mine and folder.is_dir() and not folder.is_symlink() and not psutil.pid_exists(pid):
                remove(folder)
