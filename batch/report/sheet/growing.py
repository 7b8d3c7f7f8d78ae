"""The contact sheet that a run writes, as often as asked: a page that would be the same is not drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.records.tasks import Task
from batch.report.sheet import files
from batch.report.sheet.drawing import draw_page
from batch.report.sheet.layout import Paper
from batch.report.sheet.own import Own
from batch.report.sheet.show import Shown, showing

if TYPE_CHECKING:
    from collections.abc import Hashable

    from batch.report.sheet.show import Page
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

PAPER = Paper()


class Sheets:
    """The contact sheet of a run: contact_sheet.jpg, or contact_sheet-1.jpg … where one page is not enough.

    ``tasks`` are in the order to show them in.
    """

    def __init__(self, folder: RunFolder, tasks: Sequence[Task]) -> None:
        self._folder = folder
        self._shown = Shown(folder, tasks)
        self._own = Own(folder)
        self._about = files.About(name=folder.name(), run=folder.id())
        self._drawn: dict[int, tuple[Hashable, Path, tuple[int, int]]] = {}
        """What each page showed when it was drawn, its file, and the size and time of that."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What became of files of a user's own that lay where pages belong."""
        return tuple(self._own.warnings)

    def write(self, scan: Scan) -> list[Path]:
        """Write the pages, and remove those of another numbering.

        None where there is nothing to show: no image of these tasks is done, has failed or was skipped. Raises
        OSError.
        """
        pages = self._shown.pages(scan, PAPER)
        names = [files.page_name(files.SHEET, page.number, len(pages), "jpg") for page in pages]
        written = [self._folder.root / name for name in names]
        for page, path in zip(pages, written, strict=True):
            self._write_page(path, page, scan)
        self._own.remove_others(files.SHEET, "jpg", written)
        return written

    def _write_page(self, path: Path, page: Page, scan: Scan) -> None:
        now = showing(page, scan)
        before, old, stamp = self._drawn.get(page.number, (None, path, (0, 0)))
        if before == now and stamp == _stamp(old):
            if old != path:  # there are more pages than before, and their numbers are wider
                self._own.make_way(path)
                atomic.move(old, path)
        else:
            drawn = draw_page(page.shelves, page.heading, PAPER, self._folder, scan)
            self._own.make_way(path)
            atomic.write(path, files.FORMATS["jpeg"].encode(drawn, self._about), self._folder.runner)
        self._drawn[page.number] = now, path, _stamp(path)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
