"""What is made of the receipts, results.csv, sheets and page, is written by one run at a time.

Each writes it of all that the folder holds, looked at under this lock: nothing newer is replaced by what is older.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from filelock import FileLock, Timeout

LOCK, REPORTER = "report.lock", "shards/reporter.lock"

PATIENCE_S = 600.0
"""A run that was stopped (SIGSTOP) in the middle keeps no other from its report for longer."""


@contextmanager
def writing(state: Path) -> Iterator[None]:
    """Write alone; after :data:`PATIENCE_S`, and on a drive without locks, all the same: each file is whole."""
    lock = FileLock(state / LOCK, thread_local=False)
    with suppress(Timeout, OSError, NotImplementedError):
        lock.acquire(timeout=PATIENCE_S)
    try:
        yield
    finally:
        lock.release()


class Reporter:
    """Of several runs in one folder one keeps its reports up to date; another one, when that has ended."""

    def __init__(self, state: Path, *, alone: bool) -> None:
        """``alone``: there are no others, so it is this one."""
        self._file = None if alone else FileLock(state / REPORTER, thread_local=False)
        self._lock = Lock()

    def is_me(self) -> bool:
        """Whether this run does; it begins to where nobody does."""
        if self._file is None:
            return True
        with self._lock:
            try:
                if not self._file.is_locked:
                    self._file.acquire(timeout=0)
            except Timeout:
                return False
            except (OSError, NotImplementedError):  # a drive without locks: all do
                return True
            return True

    def leave(self) -> None:
        """Let another do it."""
        if self._file is not None:
            with self._lock:
                self._file.release(force=True)
