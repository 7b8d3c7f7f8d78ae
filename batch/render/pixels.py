"""The autoencoder's output to 8-bit pixels, bit for bit as diffusers' ``postprocess`` rounds it.

Every part of a picture becomes bytes on the device as soon as it is there, and a full row of parts leaves the
device behind the decoding of the next one, a quarter of what it is in float32. Nothing waits for the device
before the last row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from batch.render import tiles

if TYPE_CHECKING:
    from batch.render.guards import Pixels
    from batch.render.tiles import Piece, Pieces

CPU_STRIP, DEVICE_STRIP = 2**17, 2**20
"""Pixels converted at a time. On a CPU the float copy of a strip, 1.5 MB, stays in the cache: three times as
fast as a whole picture at once. A device takes a tile at a time; a whole picture would need 400 MB more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """Pixels, and whether every value they were made of was finite; a byte made of NaN may be any."""

    pixels: Pixels
    finite: bool


def to_uint8(image: torch.Tensor) -> Pixels:
    """A ``[1, 3, H, W]`` tensor in -1..1 as an ``[H, W, 3]`` array of bytes."""
    return assemble(tiles.of(image)).pixels


def assemble(parts: Pieces) -> Assembled:
    """The whole picture as bytes in host memory, page-locked where the parts come from a CUDA device."""
    extremes: list[torch.Tensor] = []
    picture = row = torch.empty(0)
    for part in parts.each:
        device, on_cpu = part.image.device, part.image.device.type == "cpu"
        bottom, right = part.top + part.image.shape[2], part.left + part.image.shape[3]
        if part.top == part.left == 0:
            size = (parts.height, parts.width, 3)
            # Torch keeps page-locked blocks for the next picture: locking memory is slow.
            picture = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        if on_cpu:
            row = picture[part.top : bottom]
        elif part.left == 0:
            row = torch.empty((bottom - part.top, parts.width, 3), dtype=torch.uint8, device=device)
        extremes += _convert(part, row[:, part.left : right])
        if not on_cpu and right == parts.width:
            picture[part.top : bottom].copy_(row, non_blocking=device.type == "cuda")
        del part  # before the next one is decoded
    # The only wait for the device: this answer stands in its queue behind the copies.
    finite = bool(torch.isfinite(torch.stack(extremes)).all())
    return Assembled(pixels=picture.numpy(), finite=finite)


def _convert(part: Piece, into: torch.Tensor) -> list[torch.Tensor]:
    """Write a part's bytes ``[h, w, 3]``; its smallest and largest values, NaN where it holds one.

    Scaling and clamping happen in the tensor's own dtype and only then in float32, as in diffusers: the
    other order changes one value in four by one level for bfloat16. Halving is exact, so that adding the
    half at once rounds alike. Channels are merged last, when they are bytes.
    """
    image = part.image[0]
    rows = max(1, (CPU_STRIP if image.device.type == "cpu" else DEVICE_STRIP) // image.shape[2])
    half = torch.full((), 0.5, dtype=image.dtype, device=image.device)
    extremes: list[torch.Tensor] = []
    for top in range(0, image.shape[1], rows):
        strip = image[:, top : top + rows]
        extremes += torch.aminmax(strip)
        levels = torch.add(half, strip, alpha=0.5).clamp_(0, 1).float().mul_(255).round_()
        torch.stack(levels.to(torch.uint8).unbind(), dim=2, out=into[top : top + rows])
    return extremes
