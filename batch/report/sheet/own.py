"""Which files of a run folder are its contact sheets, and which are a user's own under such a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from batch.report.sheet import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.store.folder import RunFolder

# Opened by their own classes: Image.open refuses pictures as large as a sheet may be.
_PICTURES: dict[str, Callable[[Path], Image.Image]] = {
    ".jpg": JpegImageFile,
    ".png": PngImageFile,
    ".webp": WebPImageFile,
}
_PDF_HEAD = 65_536
"""Bytes in which what a PDF says of its run stands; a name may be long."""


class Own:
    """The contact sheets of a run folder: only what carries this run's mark is written over or removed."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._run = folder.id()
        self._moved: list[str] = []
        self._left: dict[tuple[str, str], list[str]] = {}

    @property
    def warnings(self) -> Iterator[str]:
        """What became of files that are somebody's own."""
        yield from self._moved
        for name in (name for names in self._left.values() for name in names):
            yield f"{name} carries no mark of this run, and stays; give it another name or move it away"

    def make_way(self, path: Path) -> None:
        """Move what a page is about to take the place of to the trash, if it is no page. Raises OSError."""
        if path.is_file() and not _is_of(path, self._run):
            self._folder.trash.take(path.name)
            self._moved.append(
                f"{path.name} carried no mark of this run; it is in {self._folder.trash.folder} now"
            )

    def remove_others(self, stem: str, suffix: str, written: Iterable[Path]) -> None:
        """Remove pages of the same sheet that another number of pages has left. Raises OSError."""
        keep = {path.name for path in written}
        left = self._left[stem, suffix] = []
        for old in sorted(self._folder.root.glob(f"{files.SHEET}*.{suffix}")):
            if not re.fullmatch(rf"{re.escape(stem)}(-\d+)?\.{suffix}", old.name) or old.name in keep:
                continue
            if _is_of(old, self._run):
                old.unlink(missing_ok=True)
            else:
                left.append(old.name)


def _is_of(path: Path, run: str) -> bool:
    """Whether a file says that it is a sheet of this run: see :mod:`batch.report.sheet.files`."""
    try:
        if path.suffix == ".pdf":
            with path.open("rb") as file:
                return files.is_pdf_of(file.read(_PDF_HEAD), run)
        with _PICTURES[path.suffix](path) as image:
            return files.is_of(image, run)
    except Exception:  # noqa: BLE001 - it may hold anything, and is not ours then
        return False
