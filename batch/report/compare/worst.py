"""The worst picture of each setting beside its reference: small and whole, and at 1:1 where they differ most."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from PIL import Image

from batch.report.compare.pixels import where
from batch.store.images.reading import read_pixels

if TYPE_CHECKING:
    from batch.report.compare.pairs import Pair
    from batch.report.compare.pixels import DifferenceImage, Pixels
    from batch.report.compare.rows import ComparedSetting

FOLDER = "differences"

CROP_BYTES = 70 * 1024
"""Of the three crops of a setting, at most. They have every bit, since a lossy one would show differences that are
the format's; of a grainy picture that is some 190 pixels a side, of a smooth one more."""

CROP_SIDE, SMALLEST_CROP = 512, 64
_QUICK = 1.1
"""What is encoded without effort takes so many times the bytes, at least."""

WHOLE_SIDE = 320
"""Pixels of the longer side of the pictures that show the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Three:
    """A picture three times, encoded: of the reference, of the setting, and their difference."""

    before: bytes
    after: bytes
    apart: bytes
    width: int
    height: int

    @property
    def bytes(self) -> int:
        """Of all three."""
        return len(self.before) + len(self.after) + len(self.apart)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """The part of two pictures in which they differ most, pixel by pixel and without loss."""

    left: int
    top: int
    gain: int
    """A difference of one level is so many levels here."""
    three: Three


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPicture:
    """The worst picture of a setting and its reference."""

    row: ComparedSetting
    pair: Pair
    width: int
    height: int
    shown: DifferenceImage
    whole: Three
    crop: Crop

    @property
    def path(self) -> str:
        """Of the picture of differences, below the folder written to."""
        return f"{FOLDER}/{self.row.number}-{self.pair.picture.receipt.task.picture_id[:8]}.png"

    @property
    def caption(self) -> str:
        """How much the differences are exaggerated."""
        block = self.shown.block
        of = "" if block == 1 else f"the largest of each {block}x{block} pixels, "
        return f"difference, {of}times {self.shown.gain}"

    def addresses(self, folder: Path) -> tuple[str, str] | None:
        """Of the two files, as a page in a folder refers to them; None where it cannot."""
        try:
            return _address(self.pair.base.path, folder), _address(self.pair.picture.path, folder)
        except ValueError:  # Windows: on another drive
            return None


def _address(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix())


def worst_pictures(rows: Sequence[ComparedSetting]) -> list[WorstPicture]:
    """Of each row that differs from its reference the picture that is furthest from it. Reads the files."""
    return [_worst(row, row.worst) for row in rows if row.worst]


def _worst(row: ComparedSetting, pair: Pair) -> WorstPicture:
    before, after = read_pixels(pair.base.path), read_pixels(pair.picture.path)
    shown = where(before, after)
    small = _small(before)
    height, width = small.shape[:2]
    whole = Three(
        before=_lossy(small),
        after=_lossy(_small(after)),
        apart=_lossy(shown.pixels, 50),
        width=width,
        height=height,
    )
    return WorstPicture(
        row=row, pair=pair, width=before.shape[1], height=before.shape[0], shown=shown, whole=whole,
        crop=crop(before, after, shown.at),
    )  # fmt: skip


def crop(before: Pixels, after: Pixels, at: tuple[int, int]) -> Crop:
    """The largest square around a pixel (row, column) whose three pictures take :data:`CROP_BYTES` at most."""
    quick = _crop(before, after, at, CROP_SIDE, effort=0).three.bytes / _QUICK
    side = min(CROP_SIDE, int(CROP_SIDE * (CROP_BYTES / quick) ** 0.5) // 16 * 16)
    while (found := _crop(before, after, at, side, effort=1)).three.bytes > CROP_BYTES and side > SMALLEST_CROP:
        side -= 16
    return found


def _crop(before: Pixels, after: Pixels, at: tuple[int, int], side: int, *, effort: int) -> Crop:
    rows, columns = (_window(middle, side, length) for middle, length in zip(at, before.shape[:2], strict=True))
    one, other = before[rows, columns], after[rows, columns]
    # A pixel of this one is one of the crop, which is no larger than a picture of differences.
    apart = where(one, other)
    three = Three(
        before=_lossless(one, effort),
        after=_lossless(other, effort),
        apart=_lossless(apart.pixels, effort),
        width=one.shape[1],
        height=one.shape[0],
    )
    return Crop(left=columns.start, top=rows.start, gain=apart.gain, three=three)


def _window(middle: int, side: int, length: int) -> slice:
    start = max(0, min(middle - side // 2, length - side))
    return slice(start, min(start + side, length))


def _small(pixels: Pixels) -> Pixels:
    image = _image(pixels)
    image.thumbnail((WHOLE_SIDE, WHOLE_SIDE))
    return np.asarray(image)


def _image(pixels: Pixels) -> Image.Image:
    """As browsers show it: what is neither grey nor RGB is made so."""
    image = Image.fromarray(pixels)
    return image if image.mode in {"L", "RGB", "RGBA"} else image.convert("RGB")


def _lossless(pixels: Pixels, effort: int) -> bytes:
    return _encoded(_image(pixels), lossless=True, exact=True, method=effort, quality=60 * effort)


def _lossy(pixels: Pixels, quality: int = 70) -> bytes:
    return _encoded(_image(pixels), quality=quality, method=4)


def _encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()
