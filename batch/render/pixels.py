"""The autoencoder's output to 8-bit pixels, bit for bit as diffusers' ``postprocess`` rounds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from batch.render.guards import Objection, check_pixels, refuse

__all__ = ["Pixels", "check_pixels", "to_uint8"]

Pixels = NDArray[np.uint8]
"""Height x width x 3."""

STRIP_ROWS = 256
"""Rows converted at a time: a float copy of a whole 16-megapixel picture would take 200 MB."""


def to_uint8(image: Any, objection: Objection = refuse) -> Pixels:
    """A ``[1, 3, H, W]`` tensor in -1..1 as an ``[H, W, 3]`` array of bytes.

    Scaling and clamping happen in the tensor's own dtype and only then in float32, as in diffusers: the
    other order changes one value in four by one level for bfloat16. Objects to values that are not finite: by
    default with :class:`~batch.render.failures.BadPicture`, else NaN becomes 0.
    """
    _, channels, height, width = image.shape
    out = torch.empty((height, width, channels), dtype=torch.uint8, device=image.device)
    finite = torch.ones((), dtype=torch.bool, device=image.device)
    for top in range(0, height, STRIP_ROWS):
        finite &= torch.isfinite(image[0, :, top : top + STRIP_ROWS]).all()
        strip = (image[0, :, top : top + STRIP_ROWS] * 0.5 + 0.5).clamp(0, 1)
        out[top : top + STRIP_ROWS] = (strip.float() * 255).round().nan_to_num_(0).to(torch.uint8).permute(1, 2, 0)
    if not bool(finite):
        objection("the decoded picture holds numbers that are not finite (NaN or infinite)")
    result: Pixels = out.cpu().numpy()
    return result
