"""How far two pictures are apart, read from their files one pair at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

_ROWS = 256
"""Rows compared at once: the two pictures of 16 megapixels take 100 MB, their difference 16 MB more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of two pictures in 8 bits per channel. ``psnr`` is in dB, infinite where they are identical."""

    largest: int
    psnr: float

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return self.largest == 0


SAME = Difference(largest=0, psnr=math.inf)


def difference(first: Path, second: Path) -> Difference:
    """Compare two image files. Raises OSError for a file that is no image, ValueError for unequal sizes."""
    with Image.open(first) as one, Image.open(second) as other:
        if one.size != other.size:
            raise ValueError(f"{first} is {one.size[0]}x{one.size[1]}, {second} {other.size[0]}x{other.size[1]}")
        left, right = np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB"))
    largest, squares = 0, 0
    for top in range(0, len(left), _ROWS):
        apart = np.abs(left[top : top + _ROWS].astype(np.int32) - right[top : top + _ROWS])
        largest = max(largest, int(apart.max()))
        squares += int(np.square(apart).sum(dtype=np.int64))
    if not squares:
        return SAME
    return Difference(largest=largest, psnr=10 * math.log10(255**2 * left.size / squares))


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """Many pairs together. ``identical`` is their share; the PSNR is over the pairs that differ, in dB."""

    compared: int
    identical: float
    max_diff: int
    psnr_mean: float | None
    psnr_min: float | None


def closeness(pairs: Iterable[Difference]) -> Closeness | None:
    """Sum up differences; None where there are none."""
    found = list(pairs)
    if not found:
        return None
    noise = [item.psnr for item in found if not item.identical]
    return Closeness(
        compared=len(found),
        identical=1 - len(noise) / len(found),
        max_diff=max(item.largest for item in found),
        psnr_mean=sum(noise) / len(noise) if noise else None,
        psnr_min=min(noise, default=None),
    )
