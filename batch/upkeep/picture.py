"""Image files back to pixels, and two pictures compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.store import images

STRIP_ROWS = 256
"""Rows compared at a time: differences of a whole 16-megapixel picture would take 400 MB as float."""


class Undecodable(Exception):  # noqa: N818 - reads as what it is
    """The file is no whole picture."""


def pixels(path: Path) -> NDArray[Any]:
    """The pixels, height x width x channels. Raises :class:`Undecodable`."""
    try:
        return images.read_pixels(path)
    except (OSError, ValueError) as error:
        raise Undecodable(str(error) or type(error).__name__) from None


def decoded_size(path: Path) -> tuple[int, int]:
    """Width and height after decoding every row. Raises :class:`Undecodable`."""
    height, width = pixels(path).shape[:2]
    return width, height


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two pictures of one size are apart."""

    max_difference: float
    """The largest difference of one channel of one pixel, in levels (0 to 255 for 8 bits)."""
    changed_share: float
    """Pixels that differ at all, 0 to 1."""
    psnr_db: float
    """Peak signal-to-noise ratio; infinite for equal pictures."""


def difference(one: NDArray[Any], other: NDArray[Any]) -> Difference | None:
    """Compare two pictures; None when their shapes or depths differ."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    largest = squares = 0.0
    changed = 0
    for top in range(0, len(one), STRIP_ROWS):
        gap = np.abs(one[top : top + STRIP_ROWS].astype(np.float32) - other[top : top + STRIP_ROWS])
        largest = max(largest, float(gap.max()))
        squares += float(np.square(gap, dtype=np.float64).sum())
        changed += int(gap.reshape(*gap.shape[:2], -1).any(axis=-1).sum())
    peak = float(np.iinfo(one.dtype).max) if np.issubdtype(one.dtype, np.integer) else 1.0
    mean = squares / one.size
    return Difference(
        max_difference=largest,
        changed_share=changed / (one.shape[0] * one.shape[1]),
        psnr_db=10 * math.log10(peak**2 / mean) if mean else math.inf,
    )
