"""What the kernel of this machine knows of a lock."""

from __future__ import annotations

import sys
from pathlib import Path

from filelock import FileLock, Timeout

from batch.base import regular

if sys.platform == "win32":

    def is_held(path: Path) -> bool | None:
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

    def is_held(path: Path) -> bool | None:
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
