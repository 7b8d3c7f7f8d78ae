"""Whether pixels are a picture at all. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from batch.render.failures import BadPicture

FLAT_LEVELS = 2
"""A picture whose channels each span no more levels than this is of one colour: what NaN and a broken
autoencoder give. A rendered picture of a black night or a white wall spans more."""


Pixels = NDArray[np.uint8]
"""Height x width x 3."""


class Flaw(Enum):
    """What makes a picture none."""

    LATENTS_NOT_FINITE = auto()
    PIXELS_NOT_FINITE = auto()
    ONE_COLOUR = auto()


Objection = Callable[[Flaw, str], None]
"""Told what makes a picture none, and the same for people; raises, or lets it pass."""


def refuse(_flaw: Flaw, message: str) -> None:
    """The objection that raises :class:`BadPicture`."""
    raise BadPicture(message)


def check_pixels(pixels: Pixels, width: int, height: int, objection: Objection = refuse) -> None:
    """Raise :class:`BadPicture` for ``[H, W, 3]`` pixels of a wrong size; object to those of one colour."""
    if pixels.shape != (height, width, 3):
        raise BadPicture(f"the picture is {pixels.shape[1]}x{pixels.shape[0]} pixels instead of {width}x{height}")
    if pixels.size == 3:  # one pixel is of one colour
        return
    rows = pixels[:: max(1, height // 64)]  # nearly every picture is told from a few rows
    if _spans(rows):
        return
    if not _spans(pixels):
        colour = ", ".join(str(int(value)) for value in pixels[height // 2, width // 2])
        objection(Flaw.ONE_COLOUR, f"the picture is of one colour (RGB {colour})")


def _spans(pixels: Pixels) -> bool:
    low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    return bool((high.astype(int) - low > FLAT_LEVELS).any())
