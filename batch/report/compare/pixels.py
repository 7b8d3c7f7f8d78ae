"""How far two pictures are apart, read from their files one pair at a time."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.store.images.reading import read_pixels

Pixels = NDArray[np.uint8]

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
    ssim: float | None = None
    """Structural similarity, 1 for equal pictures; None where it was not computed."""

    @property
    def identical(self) -> bool:
        """Whether every pixel is the same."""
        return self.max_difference == 0


SAME = Difference(max_difference=0, changed_share=0.0, psnr_db=math.inf, ssim=1.0)


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


def of_files(first: Path, second: Path, read: Callable[[Path], Pixels] = read_pixels) -> Difference:
    """Compare two image files, SSIM included where it :func:`can be computed <has_ssim>`.

    ``read`` decodes a file. Raises OSError or ValueError for a file that is no picture, or of another size.
    """
    left, right = read(first), read(second)
    found = difference(left, right)
    if found is None:
        sizes = [
            f"{path} is {array.shape[1]}x{array.shape[0]}" for path, array in ((first, left), (second, right))
        ]
        raise ValueError(", ".join(sizes))
    if found.identical or not has_ssim():
        return found
    return replace(found, ssim=ssim(left, right))


# Structural similarity

_WINDOW = 7
"""Pixels a side of the window that scikit-image averages over by default."""

_BANDS_AT_ONCE = 4
"""Each takes about 150 MB at a width of 5376."""


NOT_INSTALLED = "not installed"
"""In place of a figure for which a package is missing."""


def has_ssim() -> bool:
    """Whether scikit-image is installed."""
    return importlib.util.find_spec("skimage") is not None


def ssim(one: Pixels, other: Pixels) -> float | None:
    """Mean structural similarity of two pictures of one shape, as scikit-image computes it for the whole.

    It is computed by bands of rows that overlap by a window, since the whole of 16 megapixels would take
    gigabytes: the windows are the same, and so is their mean. None for a picture smaller than a window. Needs
    scikit-image.
    """
    if min(one.shape[:2]) < _WINDOW:
        return None
    margin = _WINDOW // 2
    tops = range(margin, len(one) - margin, _ROWS)
    bands = [(top, min(top + _ROWS, len(one) - margin)) for top in tops]
    with ThreadPoolExecutor(min(_BANDS_AT_ONCE, os.cpu_count() or 1)) as pool:
        means = pool.map(lambda band: _mean_ssim(one, other, band[0] - margin, band[1] + margin), bands)
        total = sum(mean * (bottom - top) for mean, (top, bottom) in zip(means, bands, strict=True))
    return float(total / (len(one) - 2 * margin))


def _mean_ssim(one: Pixels, other: Pixels, top: int, bottom: int) -> float:
    """Over the windows that lie between two rows whole."""
    from skimage.metrics import structural_similarity

    left, right = (array[top:bottom].astype(np.float32) for array in (one, other))
    if np.array_equal(left, right):
        return 1.0
    channels = -1 if left.ndim == 3 else None
    return float(structural_similarity(left, right, win_size=_WINDOW, data_range=255, channel_axis=channels))


# Where two pictures differ

SHOWN_SIDE = 512
"""Pixels of the longer side of a picture of differences, at most."""

_MOST_GAIN = 64
_CLIPPED = 0.01
"""The share of the blocks that differ which the gain may make white: one outlier would leave all others black."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceImage:
    """Where two pictures differ: ``pixels`` is height x width in levels of grey, black where they are equal."""

    pixels: NDArray[np.uint8]
    gain: int
    """A difference of one level is so many levels here."""
    block: int
    """A pixel is the largest difference in a square of so many pixels a side."""
    at: tuple[int, int]
    """Row and column of the pixel, in the pictures, around which the largest difference lies."""


def where(one: Pixels, other: Pixels) -> DifferenceImage:
    """Make small differences of two pictures of one shape visible.

    Blocks show their largest difference and not the mean, so that a thin seam is not lost. The gain is the
    largest power of two, up to 64, that keeps 99 of 100 blocks that differ below white.
    """
    block = math.ceil(max(one.shape[:2]) / SHOWN_SIDE)
    rows = []
    for top in range(0, len(one), block):
        strip = np.abs(one[top : top + block].astype(np.int32) - other[top : top + block])
        columns = strip.reshape(*strip.shape[:2], -1).max(axis=(0, 2))
        rows.append(np.maximum.reduceat(columns, range(0, len(columns), block)))
    apart = np.stack(rows)
    differing = apart[apart > 0]
    level = float(np.quantile(differing, 1 - _CLIPPED)) if differing.size else 255.0
    gain = int(min(_MOST_GAIN, 2 ** int(math.log2(255 / max(level, 1.0)))))
    row, column = divmod(int(apart.argmax()), apart.shape[1])
    middle = (row * block + block // 2, column * block + block // 2)
    return DifferenceImage(
        pixels=np.minimum(apart * gain, 255).astype(np.uint8), gain=gain, block=block, at=middle
    )


# Many pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """Many pairs together. ``identical`` is their share; PSNR (dB) and SSIM are over the pairs that differ."""

    compared: int
    identical: float
    max_diff: int
    psnr_mean: float | None
    psnr_min: float | None
    ssim_mean: float | None
    ssim_min: float | None


def closeness(pairs: Iterable[Difference]) -> Closeness | None:
    """Sum up differences; None where there are none."""
    found = list(pairs)
    if not found:
        return None
    noise = [item.psnr_db for item in found if not item.identical]
    alike = [item.ssim for item in found if not item.identical and item.ssim is not None]
    return Closeness(
        compared=len(found),
        identical=1 - len(noise) / len(found),
        max_diff=max(item.max_difference for item in found),
        psnr_mean=sum(noise) / len(noise) if noise else None,
        psnr_min=min(noise, default=None),
        ssim_mean=sum(alike) / len(alike) if alike else None,
        ssim_min=min(alike, default=None),
    )
