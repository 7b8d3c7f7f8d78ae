"""Network drives: what they show late, and what time it is there.

A client of NFS keeps for up to a minute what it has seen of a folder, and also that something was *not* there. It
asks the server anew when a file or a folder is opened, unless the drive was mounted with ``nocto``.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

SILLY = ".nfs"
"""How the name of a file begins that was deleted while somebody has it open: it goes when it is closed."""


def look_again(folder: Path) -> None:
    """See what lies in a folder now, and not what a client of NFS remembers. Never raises OSError."""
    if os.name == "nt" or _asked(folder) or folder.parent == folder:
        return
    look_again(folder.parent)  # what is remembered may be that there is no such folder
    _asked(folder)


def _asked(folder: Path) -> bool:
    """Whether the server was asked about a folder; not where none is there, as far as the client knows."""
    try:
        os.close(os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # nothing that asking again would change
    return True


def time_at(folder: Path, suffix: str) -> float:
    """Seconds since 1970 by the clock that dates the files of a folder, which may be another machine's.

    Writes a file there for a moment, whose name ends with ``suffix``. Raises OSError where that is not allowed.
    """
    probe = folder / f".{secrets.token_hex(6)}{suffix}"
    try:
        with probe.open("xb") as file:
            file.write(b"?")
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_mtime
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
