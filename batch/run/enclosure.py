"""The picture that goes with a message: the contact sheet of a run made small, else its last picture."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from batch.base import atomic

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from batch.run.options import Result
    from batch.store.folder import RunFolder

FILE = "message.jpg"
"""In the folder of records."""

SIDE = 1280
"""Pixels of the longer side at most."""

LARGEST = 1_000_000
"""Bytes: less than any service takes."""

_SHRUNK = 3
"""A sheet is made smaller by this much at most: of one that is larger still its upper left is shown."""


def make(folder: RunFolder, result: Result) -> Path | None:
    """Write it into the run folder; None where nothing is rendered, or where it cannot be made."""
    if result.report is None:  # the folder may be another runner's by now
        return None
    last = result.account.last
    thumb = folder.thumb_path(last.task.id) if last is not None else None
    sheets = result.report.sheets if result.done else ()
    for source in (*sheets[:1], *([thumb] if thumb else [])):
        with suppress(OSError, ValueError, MemoryError):  # told without it
            place = folder.state / FILE
            atomic.write(place, _small(source), folder.runner, durable=False)
            return place.absolute()
    return None


def _small(source: Path) -> bytes:
    from PIL import Image

    with Image.open(source) as image:
        factor = min(1.0, SIDE / min(max(image.size), _SHRUNK * SIDE))
        image.thumbnail((max(1, round(image.width * factor)), max(1, round(image.height * factor))))
        shown = image.convert("RGB").crop((0, 0, min(SIDE, image.width), min(SIDE, image.height)))
    return next(data for quality in (85, 60, 30) if len(data := _jpeg(shown, quality)) < LARGEST)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()
