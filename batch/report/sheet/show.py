"""What is on the pages of a contact sheet, and what decides how each is drawn.

A sheet holds what there is: rows and columns in which nothing was begun are counted in a line below the others.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.records.tasks import Task
from batch.report.sheet import axes
from batch.report.sheet.blocks import begun_of, blocks_of
from batch.report.sheet.heading import heading_of
from batch.report.sheet.pages import pages_of
from batch.report.status import ImageStatus, status_of

if TYPE_CHECKING:
    from batch.report.sheet.blocks import Block
    from batch.report.sheet.heading import Heading
    from batch.report.sheet.layout import Paper, TableShelf
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is on one page."""

    number: int
    heading: Heading
    shelves: Sequence[TableShelf]


class Shown:
    """The pictures of a run as a sheet arranges them: what does not change while the run goes on.

    ``tasks`` are in the order to show them in. Of a measurement the first repeat stands for all: they are one
    picture. Raises :class:`~batch.base.errors.UserError` for rows and columns that are no axes of the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        tasks: Sequence[Task],
        *,
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
    ) -> None:
        self.root = folder.root
        self._tasks, self._name = tasks, folder.name()
        shown = [task for task in tasks if task.repeat in (None, 1) and not task.warmup]
        self.matrix = axes.choose(axes.axes_of(shown), rows, columns)
        self.blocks: list[Block] = blocks_of(shown, self.matrix)
        self._shared = axes.shared(shown)

    def pages(self, scan: Scan, paper: Paper) -> list[Page]:
        """What is begun, on pages; none where nothing is."""
        begun = {task.id for task in self._tasks if status_of(task, scan) is not ImageStatus.MISSING}
        blocks = begun_of(self.blocks, lambda task: task.id in begun) if begun else []
        pages = list(pages_of(blocks, paper))
        return [
            Page(number=number, heading=self._heading(scan, number, len(pages)), shelves=shelves)
            for number, shelves in enumerate(pages, start=1)
        ]

    def _heading(self, scan: Scan, number: int, pages: int) -> Heading:
        return heading_of(self._name, self._tasks, self._shared, scan, number, pages)


def showing(page: Page, scan: Scan) -> Hashable:
    """All that decides how a page is drawn."""
    return page.heading, tuple(_showing(page.shelves, scan))


def _showing(shelves: Sequence[TableShelf], scan: Scan) -> Iterator[Hashable]:
    for table, left in ((table, left) for shelf in shelves for table, left in shelf.placed()):
        block = table.block
        yield (
            left,
            table.title,
            table.lead,
            tuple(block.rows),
            tuple(block.columns),
            block.left,
            table.side,
            table.heights,
            table.widths,
        )
        for row in block.rows:
            for column in block.columns:
                if task := block.cells.get((row, column)):
                    yield _cell(task, scan)


def _cell(task: Task, scan: Scan) -> Hashable:
    if task.id in scan.touched:
        return object()  # unlike any before: whoever touches a picture once may do so again
    if receipt := scan.receipts.get(task.id):
        return receipt.started_at, receipt.file.sha256, receipt.degraded_from, receipt.repaired
    if failure := scan.failures.get(task.id):
        return failure.error.stage, failure.error.kind, failure.error.message
    return scan.skipped.get(task.id)
