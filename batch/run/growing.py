"""Reports that grow: results.csv, sheet and page are written anew while the run goes on, in a thread of their own.

The first time is soon after the start, so that there is a page to watch; the next one soon after the first image;
then in growing steps, at last every minute, and when a pause begins. However long such a report takes, it takes no
more than a fiftieth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from batch.base.errors import BatchError
from batch.store import derived, live
from batch.store.receipts import Scan

if TYPE_CHECKING:
    from batch.records.receipts import Outcome
    from batch.report.book import Book, Report
    from batch.store.folder import RunFolder

SOON_S, STEPS_S, EVERY_S = 2.0, (5.0, 15.0, 30.0), 60.0
"""Seconds before the first two reports of a run, between those that follow, and between the others."""
SHARE = 50
"""One part in so many of the time may go into reports."""

UNWRITTEN = (OSError, BatchError, ValueError, ArithmeticError, LookupError)
"""What keeps a report from being written: a full disk, or what somebody wrote into a record."""


class Growing:
    """The reports of one run. Only :meth:`finish` raises, since a report that is not written ends no run."""

    def __init__(self, folder: RunFolder, scan: Scan, began: float, written: Callable[[], None]) -> None:
        """``scan`` is what the folder held when the run began; ``written`` is called after each report."""
        self._folder, self._scan, self._began, self._written = folder, scan, began, written
        self.reporter = derived.Reporter(folder.state, alone=folder.shard is None)
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._news, self._hurry, self._over = Event(), Event(), Event()
        self._book: Book | None = None
        self._begun = False
        """Whether anything of this run is in its reports."""
        self._thread = Thread(target=self._go_on, name="reports", daemon=True)

    @property
    def generation(self) -> int:
        """How many pieces there are for a page that follows the run."""
        return self._book.pieces if self._book else 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def take(self, outcome: Outcome) -> None:
        """Learn what became of an image."""
        self._outcomes.put(outcome)
        self._news.set()

    def hurry(self) -> None:
        """Write now: nothing new will come for a while."""
        self._hurry.set()
        self._news.set()

    def stop(self) -> None:
        """Write no more; waits for what is being written."""
        self._over.set()
        self.hurry()
        if self._thread.is_alive():
            self._thread.join()

    def finish(self) -> Report:
        """Write the last report, of what the folder holds. Raises :data:`UNWRITTEN`."""
        from batch.report.write import write_report

        self.stop()
        return write_report(self._folder, self._book, self._began if self._book else None)

    def _go_on(self) -> None:
        due, steps = monotonic() + SOON_S, iter(STEPS_S)
        while not self._is_over(due):
            start = monotonic()
            self._news.clear()
            try:
                self._folder.still_held()  # else another runner writes there
                if self.reporter.is_me():
                    self._write()
            except UNWRITTEN:  # the last report says it
                pass
            end = monotonic()
            step = min(EVERY_S, next(steps, EVERY_S)) if self._begun else SOON_S
            due = end + (max(step, SHARE * (end - start)) if self._begun else step)
            self._news.wait()

    def _is_over(self, due: float) -> bool:
        """Whether the run is; waits until a report is due or wanted."""
        self._hurry.wait(max(0.0, due - monotonic()))
        self._hurry.clear()
        return self._over.is_set()

    def _write(self) -> None:
        book, outcomes = self._opened(), []
        while True:
            try:
                outcomes.append(self._outcomes.get_nowait())
            except Empty:
                break
        with derived.writing(self._folder.state):
            book.take(outcomes)
            if self._folder.shard is not None:  # what others have rendered is told by the folder alone
                book.settle(self._folder.scan())
            book.write(self._began, last=False)
        self._begun = self._begun or bool(outcomes)
        self._written()

    def _opened(self) -> Book:
        from batch.report.book import Book

        if self._book is None:
            live.forget_pieces(self._folder.state)
            self._book, self._scan = Book(self._folder, self._folder.tasks(), self._scan), Scan()
        return self._book
