"""Signs of life of who holds a run folder: when ``lock.json`` was written last, by the clock that dates it.

The drive may be another machine's, and so may its clock: times are compared with what time it is there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from batch.base import atomic, drives, regular

BEAT_S = 20.0
"""Seconds between two signs of life of a holder."""
SILENT_S = 120.0
"""A holder on another host that gave none for so long is gone. A network drive may show times a minute late."""


def give(path: Path, data: bytes) -> None:
    """Give one, if ``path`` is still what this holder wrote, which is ``data``. Raises OSError.

    The first byte is written again: then the server dates the file, where setting its time may take this clock's.
    Another holder puts a new file in its place, so what is read and what is dated are one file.
    """
    with path.open("r+b") as file:
        if file.read() == data:
            file.seek(0)
            file.write(data[:1])


def are_given(path: Path) -> bool:
    """Whether the holder gave one not long ago; not where there is no such file."""
    try:
        return abs(_silent_s(path)) < SILENT_S
    except OSError:
        return False


def are_from_before(path: Path) -> bool:
    """Whether the last one came before this machine was started: later ones are of a namesake of it."""
    import psutil

    try:
        return _silent_s(path) >= max(2 * BEAT_S, time.time() - psutil.boot_time())
    except OSError:
        return False


def _silent_s(path: Path) -> float:
    """Seconds since the last one; by the clock here where nothing may be written there."""
    with regular.opened(path) as file:  # opened: what a client of NFS remembers of a file may be a minute old
        last = os.fstat(file.fileno()).st_mtime
    try:
        now = drives.time_at(path.parent, f".any{atomic.TEMP_SUFFIX}")
    except OSError:
        now = time.time()
    return now - last
