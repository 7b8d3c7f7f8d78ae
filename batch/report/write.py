"""Receipts to what people read: CSV, contact sheet, HTML. Rebuilt from the run folder at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.report.book import Book
from batch.store import derived

if TYPE_CHECKING:
    from batch.report.book import Report
    from batch.store.folder import RunFolder


def write_report(folder: RunFolder, book: Book | None = None, began: float | None = None) -> Report:
    """Write results.csv, the contact sheet and report.html of a run folder.

    A ``book`` that a run that ``began`` then has kept spares drawing what is drawn; what it says is the folder's.
    """
    with derived.writing(folder.state):
        scan = folder.scan()
        if book is None:
            return Book(folder, folder.tasks(), scan).write()
        book.settle(scan)
        return book.write(began)
