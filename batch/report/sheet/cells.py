"""A cell of a contact sheet: the picture of an image, or in its place what became of the image."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageOps

from batch.base import regular
from batch.base.errors import UserError
from batch.records.receipts import Receipt
from batch.records.tasks import Task
from batch.report.lettering.lines import draw_badge, draw_lines, lines_within
from batch.report.sheet.layout import GAP
from batch.report.status import ImageStatus, status_of
from batch.store import inside
from batch.store.images.encoders import THUMB_SIDE
from batch.store.images.reading import read_pixels

if TYPE_CHECKING:
    from batch.report.lettering.fonts import Colour
    from batch.report.lettering.lines import TextLine
    from batch.report.sheet.layout import Letters
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

PAPER: Colour = (250, 250, 248)
MUTED: Colour = (98, 98, 104)
MAX_THUMB = 2**22
"""Bytes of a thumbnail: they have some ten thousand."""
_DEGRADED, _FAILED, _BOX, _EDGE = (138, 90, 0), (176, 32, 32), (240, 238, 236), (206, 206, 202)


def draw_cell(
    page: Image.Image, at: tuple[int, int], size: tuple[int, int], task: Task, folder: RunFolder, scan: Scan,
    letters: Letters,
) -> None:  # fmt: skip
    """Draw a task's picture, or a box that says why there is none. A thumbnail that is gone is made anew."""
    status = status_of(task, scan)
    if status is ImageStatus.DONE:
        _draw_done(page, at, size, folder, scan, scan.receipts[task.id], letters)
    elif status.tried_in_vain:
        error = scan.failures[task.id].error
        page.paste(_box(size, f"{status}: {error.stage}\n{error.kind}\n{error.message}", _FAILED, letters), at)
    elif status is ImageStatus.SKIPPED:
        page.paste(_box(size, f"{status}\n{scan.skipped[task.id]}", MUTED, letters), at)
    else:
        page.paste(_box(size, "not rendered yet", MUTED, letters), at)


def _draw_done(
    page: Image.Image, at: tuple[int, int], size: tuple[int, int], folder: RunFolder, scan: Scan, receipt: Receipt,
    letters: Letters,
) -> None:  # fmt: skip
    touched = scan.touched.get(receipt.task.id)
    if touched is not None and touched.shows and folder.thumb_is_older(receipt):
        folder.remake_thumb(receipt)
    shown = _picture(folder, receipt, size)
    if shown is None:
        page.paste(_box(size, "done (no thumbnail)", MUTED, letters), at)
        return
    page.paste(shown, at)
    # A white picture has an edge, too.
    ImageDraw.Draw(page).rectangle((at[0] - 1, at[1] - 1, at[0] + size[0], at[1] + size[1]), outline=_EDGE)
    made = "degraded" if receipt.degraded_from else "repaired" if receipt.repaired else ""
    if word := ", ".join(filter(None, (made, "prompt cut" if receipt.cut else "", str(touched or "")))):
        _mark(page, at, size, word, letters.text - 2)


def _mark(page: Image.Image, at: tuple[int, int], size: tuple[int, int], word: str, text: int) -> None:
    """A word in the lower left corner of a picture, that ends before the next one and covers no more than half."""
    inset = min(8, size[0] // 12)
    lines = lines_within(word, size[0] - 2 * inset, max(1, size[1] // 2 // (text + 4)), text)
    draw_badge(page, (at[0] + inset, at[1] + size[1] - inset), lines, text, PAPER, _DEGRADED)


def _picture(folder: RunFolder, receipt: Receipt, size: tuple[int, int]) -> Image.Image | None:
    """Of the thumbnail, and where that is too small of the picture itself."""
    if max(size) > THUMB_SIDE and (whole := _whole(folder.root / receipt.file.path, size)):
        return whole
    thumb = folder.thumb_path(receipt.task.id)
    found = _thumbnail(thumb, size)
    if found is None and folder.remake_thumb(receipt):
        found = _thumbnail(thumb, size)
    return found


def _whole(path: Path, size: tuple[int, int]) -> Image.Image | None:
    try:
        return _fitted(Image.fromarray(read_pixels(path)), size)
    except (OSError, ValueError, TypeError, UserError, MemoryError):
        return None


def _thumbnail(path: Path, size: tuple[int, int]) -> Image.Image | None:
    if not inside.is_file(path):
        return None
    try:
        with Image.open(BytesIO(regular.read(path, MAX_THUMB)), formats=("WEBP",)) as image:
            return _fitted(image, size)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode != "RGB":
        image = image.convert("RGB")
    if abs(image.width / image.height - size[0] / size[1]) < 0.02:
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    # Somebody has cropped or turned the picture.
    return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=_BOX)


@lru_cache(maxsize=64)
def _box(size: tuple[int, int], text: str, colour: Colour, letters: Letters) -> Image.Image:
    """A cell without a picture: thousands of them say the same."""
    box = Image.new("RGB", size, _BOX)
    ImageDraw.Draw(box).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=colour)
    most = max(1, (size[1] - GAP) // letters.text_step)
    lines: list[TextLine] = []
    for part in text.split("\n"):
        if len(lines) < most:
            lines += lines_within(part, max(1, size[0] - 2 * GAP), most - len(lines), letters.text)
    draw_lines(box, (GAP, GAP // 2), lines, letters.text, colour, step=letters.text_step)
    return box
