"""A cell of a contact sheet: the thumbnail of an image, or in its place what became of the image."""

from __future__ import annotations

import textwrap
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageOps

from batch.base import regular
from batch.records.tasks import Task
from batch.report.sheet.blocks import GAP, TEXT_SIZE
from batch.report.sheet.lettering import draw_badge, draw_lines
from batch.report.status import ImageStatus, status_of
from batch.store import inside

if TYPE_CHECKING:
    from batch.report.sheet.lettering import Colour
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

PAPER: Colour = (250, 250, 248)
MUTED: Colour = (110, 110, 116)
MAX_THUMB = 2**22
"""Bytes of a thumbnail: they have some ten thousand."""
_DEGRADED, _FAILED, _BOX = (138, 90, 0), (190, 40, 40), (240, 238, 236)


def draw_cell(
    page: Image.Image, at: tuple[int, int], size: tuple[int, int], task: Task, folder: RunFolder, scan: Scan
) -> None:
    """Draw a task's picture, or a box that says why there is none. A thumbnail that is gone is made anew."""
    status = status_of(task, scan)
    if status is ImageStatus.DONE:
        receipt, touched = scan.receipts[task.id], scan.touched.get(task.id)
        if touched is not None and touched.shows and folder.thumb_is_older(receipt):
            folder.remake_thumb(receipt)
        thumb = _thumbnail(folder.thumb_path(task.id), size)
        if thumb is None and folder.remake_thumb(receipt):
            thumb = _thumbnail(folder.thumb_path(task.id), size)
        page.paste(thumb or _box(size, "done (no thumbnail)", MUTED), at)
        made = "degraded" if receipt.degraded_from else "repaired" if receipt.repaired else ""
        word = ", ".join(filter(None, (made, "prompt cut" if receipt.cut else "", str(touched or ""))))
        if thumb and word:  # in its lower left corner
            draw_badge(page, (at[0] + 8, at[1] + size[1] - 8), word, TEXT_SIZE - 2, PAPER, _DEGRADED)
    elif status.tried_in_vain:
        error = scan.failures[task.id].error
        page.paste(_box(size, f"{status}: {error.stage}\n{error.kind}\n{error.message}", _FAILED), at)
    elif status is ImageStatus.SKIPPED:
        page.paste(_box(size, f"{status}\n{scan.skipped[task.id]}", MUTED), at)
    else:
        page.paste(_box(size, "not rendered yet", MUTED), at)


def _thumbnail(path: Path, size: tuple[int, int]) -> Image.Image | None:
    if not inside.is_file(path):
        return None
    try:
        with Image.open(BytesIO(regular.read(path, MAX_THUMB)), formats=("WEBP",)) as image:
            small = image.convert("RGB")
            if abs(small.width / small.height - size[0] / size[1]) < 0.02:
                return small.resize(size, Image.Resampling.LANCZOS)
            # Somebody has cropped or turned the picture.
            return ImageOps.pad(small, size, Image.Resampling.LANCZOS, color=_BOX)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


@lru_cache(maxsize=64)
def _box(size: tuple[int, int], text: str, colour: Colour) -> Image.Image:
    """A cell without a picture: thousands of them say the same."""
    box = Image.new("RGB", (size[0] + 1, size[1] + 1))
    draw = ImageDraw.Draw(box)
    draw.rectangle((0, 0, *size), outline=colour, width=2, fill=_BOX)
    per_line = max(6, (size[0] - 2 * GAP) // 8)
    lines = [piece for line in text.split("\n") for piece in textwrap.wrap(line, per_line)]
    draw_lines(draw, (GAP, GAP), lines[: max(1, (size[1] - GAP) // 20)], TEXT_SIZE, colour, 20)
    return box
