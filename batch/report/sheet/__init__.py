"""Contact sheets: prompts down, seeds across, one block per model, size and setting.

Made of the thumbnails written beside every image, not of the images: 300 pictures of 16 megapixels
would be 15 GB of pixels. A thumbnail that is gone or torn is made anew, one at a time. Large runs are
paged. A sheet holds what there is: rows and columns in which nothing was begun are counted in a line below the
others. A cell that failed or is still to come says so, and a picture that was rendered with a smaller memory
setting, or repaired, has a word in its corner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.records.tasks import Task
from batch.report.sheet.blocks import begun_of, blocks_of, pages_of
from batch.report.sheet.drawing import draw_page
from batch.report.sheet.titles import shared
from batch.report.status import ImageStatus, status_of

if TYPE_CHECKING:
    from batch.report.sheet.blocks import Block
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan


class Sheets:
    """The contact sheet of a run, written as often as asked: a page that would be the same is not drawn again.

    Of a measurement the first repeat stands for all: they are one picture.
    """

    def __init__(self, folder: RunFolder, tasks: Sequence[Task]) -> None:
        self._folder, self._tasks, self._name = folder, tasks, folder.name()
        self._blocks = blocks_of([task for task in tasks if task.repeat in (None, 1) and not task.warmup])
        self._common = shared(tasks)
        self._drawn: dict[Path, tuple[object, tuple[int, int]]] = {}
        """What each page showed when it was drawn, and the size and time of its file."""

    def write(self, scan: Scan) -> list[Path]:
        """Write contact_sheet.jpg and, when one page is not enough, contact_sheet-2.jpg and so on.

        None where there is nothing to show: no image of these tasks is done, has failed or was skipped. Raises
        OSError.
        """
        begun = {task.id for task in self._tasks if status_of(task, scan) is not ImageStatus.MISSING}
        blocks = begun_of(self._blocks, lambda task: task.id in begun) if begun else []
        pages = list(pages_of(blocks))
        written = []
        for number, page in enumerate(pages, start=1):
            path = self._folder.root / ("contact_sheet.jpg" if number == 1 else f"contact_sheet-{number}.jpg")
            self._write_page(path, page, self._heading(number, len(pages), scan), scan)
            written.append(path)
        for old in self._folder.root.glob("contact_sheet*.jpg"):
            if re.fullmatch(r"contact_sheet(-\d+)?", old.stem) and old not in written:
                old.unlink(missing_ok=True)
        return written

    def _heading(self, number: int, pages: int, scan: Scan) -> str:
        """What changes with every image stands on the first page alone, so that the others stay as they are."""
        if number > 1:
            return " · ".join(filter(None, (self._name, self._common, f"page {number}")))
        done = sum(task.id in scan.receipts for task in self._tasks)
        title = f"{self._name}: {done} of {len(self._tasks)} images"
        return " · ".join(filter(None, (title, self._common, f"page 1 of {pages}" if pages > 1 else "")))

    def _write_page(self, path: Path, blocks: Sequence[Block], heading: str, scan: Scan) -> None:
        showing = (heading, tuple(_showing(blocks, scan)))
        if path in self._drawn and self._drawn[path] == (showing, _stamp(path)):
            return
        buffer = BytesIO()
        draw_page(blocks, heading, self._folder, scan).save(buffer, "JPEG", quality=88)
        atomic.write(path, buffer.getvalue(), self._folder.runner)
        self._drawn[path] = showing, _stamp(path)


def write(folder: RunFolder, tasks: Sequence[Task], scan: Scan) -> list[Path]:
    """Write the contact sheet once: see :meth:`Sheets.write`."""
    return Sheets(folder, tasks).write(scan)


def _showing(blocks: Sequence[Block], scan: Scan) -> Iterator[object]:
    """All that decides how blocks are drawn."""
    for block in blocks:
        yield block.title, tuple(block.prompts), tuple(block.seeds), block.left
        for prompt in block.prompts:
            for seed in block.seeds:
                if task := block.cells.get((prompt, seed)):
                    yield _cell(task, scan)


def _cell(task: Task, scan: Scan) -> object:
    if task.id in scan.touched:
        return object()  # unlike any before: whoever touches a picture once may do so again
    if receipt := scan.receipts.get(task.id):
        return receipt.started_at, receipt.file.sha256, receipt.degraded_from, receipt.repaired
    if failure := scan.failures.get(task.id):
        return failure.error.stage, failure.error.kind, failure.error.message
    return scan.skipped.get(task.id)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
