"""How far two pictures are apart, read from their files one pair at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.store import images

Pixels = NDArray[Any]

_ROWS = 256
"""Rows compared at once: the two pictures of 16 megapixels take 100 MB, their difference 16 MB more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two pictures of one size are apart."""

    max_difference: int
    """The largest difference of one channel of one pixel, in levels of 255."""
    changed_share: float
    """Pixels that differ at all, 0 to 1."""
    psnr_db: float
    """Peak signal-to-noise ratio; infinite for equal pictures."""

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return self.max_difference == 0


SAME = Difference(max_difference=0, changed_share=0.0, psnr_db=math.inf)


def difference(one: Pixels, other: Pixels) -> Difference | None:
    """Compare two pictures, height x width x channels of 8 bits; None when their shapes or depths differ."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    largest = squares = changed = 0
    for top in range(0, len(one), _ROWS):
        apart = np.abs(one[top : top + _ROWS].astype(np.int32) - other[top : top + _ROWS])
        largest = max(largest, int(apart.max()))
        squares += int(np.square(apart).sum(dtype=np.int64))
        changed += int(apart.reshape(*apart.shape[:2], -1).any(axis=-1).sum())
    if not squares:
        return SAME
    return Difference(
        max_difference=largest,
        changed_share=changed / (one.shape[0] * one.shape[1]),
        psnr_db=10 * math.log10(255**2 * one.size / squares),
    )


def of_files(first: Path, second: Path) -> Difference:
    """Compare two image files. Raises OSError or ValueError for a file that is no picture, or of another size."""
    left, right = images.read_pixels(first), images.read_pixels(second)
    found = difference(left, right)
    if found is None:
        sizes = [
            f"{path} is {array.shape[1]}x{array.shape[0]}" for path, array in ((first, left), (second, right))
        ]
        raise ValueError(", ".join(sizes))
    return found


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
    noise = [item.psnr_db for item in found if not item.identical]
    return Closeness(
        compared=len(found),
        identical=1 - len(noise) / len(found),
        max_diff=max(item.max_difference for item in found),
        psnr_mean=sum(noise) / len(noise) if noise else None,
        psnr_min=min(noise, default=None),
    )
