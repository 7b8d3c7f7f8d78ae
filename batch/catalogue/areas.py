"""Pipelines that render about the same number of pixels whatever size is asked: their call scales it by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

from batch.manifest.values import Size

AREA = 1024 * 1024
"""Pixels of every picture of these pipelines, about."""

_STEP = 16
"""Their sides are rounded down to multiples of this."""

_SETTLES = 8
"""More calls than it takes until a size stays as it is; a few do."""


def _hidream(asked: Size) -> Size:
    scale = math.sqrt(AREA / (asked.width * asked.height))
    return Size(_rounded(asked.width * scale), _rounded(asked.height * scale))


def _kontext(asked: Size) -> Size:
    ratio = asked.width / asked.height
    return Size(_rounded(round((AREA * ratio) ** 0.5)), _rounded(round((AREA / ratio) ** 0.5)))


def _rounded(side: float) -> int:
    return max(_STEP, int(side // _STEP * _STEP))


SCALES: dict[str, Callable[[Size], Size]] = {
    "HiDreamImagePipeline": _hidream,
    "FluxKontextPipeline": _kontext,
}
"""What the call of each makes of a size."""


def scaled(pipeline: str, asked: Size) -> Size:
    """The size that a pipeline renders for one asked for, and leaves as it is when it is asked for that."""
    scale = SCALES.get(pipeline)
    if scale is None:
        return asked
    for _ in range(_SETTLES):
        before, asked = asked, scale(asked)
        if asked == before:
            break
    return asked
