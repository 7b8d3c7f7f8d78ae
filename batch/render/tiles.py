"""A decoded picture in parts: SANA's and Qwen-Image's autoencoders tile by tile, others as one part.

The geometry and the bits are those of their ``tiled_decode``; the way there is another. diffusers
keeps every tile until the last is decoded and blends row by row and column by column, four kernels each: some
20,000 at 5376x3072 in tiles of 1024. Here a tile is blended when it is decoded, a whole edge in three kernels,
and gone before the next one is decoded: only the overlaps of the last row of tiles and of the tile to the
left are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from diffusers import AutoencoderDC, AutoencoderKLQwenImage, AutoencoderKLQwenImage21, ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A finished piece of a picture: ``[1, 3, height, width]`` in -1..1, and where its corner is in pixels."""

    top: int
    left: int
    image: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A picture of ``height`` x ``width`` pixels, piece by piece, row after row from left to right.

    The pieces cover it without overlap. They are made while one goes through them, which is possible once;
    whoever lets a piece go before asking for the next has one on the device at a time.
    """

    height: int
    width: int
    each: Iterator[Piece]

    def whole(self) -> torch.Tensor:
        """All of it as one tensor ``[1, 3, height, width]``."""
        first = next(self.each)
        if first.image.shape[2:] == (self.height, self.width):
            return first.image
        picture = first.image.new_empty((*first.image.shape[:2], self.height, self.width))
        self._put(first, picture)
        del first
        for part in self.each:
            self._put(part, picture)
            del part
        return picture

    @staticmethod
    def _put(part: Piece, picture: torch.Tensor) -> None:
        height, width = part.image.shape[2:]
        picture[:, :, part.top : part.top + height, part.left : part.left + width] = part.image


def of(image: torch.Tensor) -> Pieces:
    """A picture that is there already as its only part."""
    height, width = image.shape[2:]
    return Pieces(height=height, width=width, each=iter([Piece(top=0, left=0, image=image)]))


def decode(vae: ModelMixin, latents: torch.Tensor) -> Pieces:
    """``vae.decode(latents)``, bit for bit, in tiles where the autoencoder is set to them.

    ``[1, channels, height, width]``, or ``[1, channels, 1, height, width]`` for an autoencoder of videos.
    Tile and stride are multiples of what a latent covers in pixels, and the stride is no larger than the
    tile: :func:`batch.render.memory.apply` holds that.
    """
    height, width = latents.shape[-2:]
    if not isinstance(vae, _TILED) or not vae.use_tiling:
        return _decode_whole(vae, latents)
    scale = vae.spatial_compression_ratio
    if height <= vae.tile_sample_min_height // scale and width <= vae.tile_sample_min_width // scale:
        return _decode_whole(vae, latents)
    # The decoder is called without the autoencoder's own call, which offloading waits for: as in ``decode``.
    each = apply_forward_hook(_decode_tiles)(vae, latents)
    return Pieces(height=height * scale, width=width * scale, each=each)


@torch.no_grad()
def _decode_whole(vae: ModelMixin, latents: torch.Tensor) -> Pieces:
    image = vae.decode(latents, return_dict=False)[0]
    return of(image[:, :, 0] if image.ndim == 5 else image)


_TILED = (AutoencoderDC, AutoencoderKLQwenImage, AutoencoderKLQwenImage21)


@torch.no_grad()
def _decode_tiles(vae: ModelMixin, latents: torch.Tensor) -> Iterator[Piece]:
    scale = vae.spatial_compression_ratio
    stride_height, stride_width = vae.tile_sample_stride_height, vae.tile_sample_stride_width
    tile_height, tile_width = vae.tile_sample_min_height // scale, vae.tile_sample_min_width // scale
    bottoms: dict[int, torch.Tensor] = {}  # of the row of tiles above, by the tile's left side
    for top in range(0, latents.shape[-2], stride_height // scale):
        side: torch.Tensor | None = None  # of the tile to the left
        for left in range(0, latents.shape[-1], stride_width // scale):
            tile = _tile(vae, latents[..., top : top + tile_height, left : left + tile_width])
            # An edge is what its tile has beyond the stride, after that tile's own blending. It covers what
            # this tile begins with and has the same length, at the border too, where both end there.
            if left in bottoms:
                _blend(bottoms.pop(left), tile, 2)
            if side is not None:
                _blend(side, tile, 3)
            bottoms[left] = tile[:, :, stride_height:].clone()
            side = tile[:, :, :, stride_width:].clone()
            yield Piece(top=top * scale, left=left * scale, image=tile[:, :, :stride_height, :stride_width])
            del tile  # before the next one is decoded


def _tile(vae: ModelMixin, latents: torch.Tensor) -> torch.Tensor:
    if isinstance(vae, AutoencoderDC):
        alone: torch.Tensor = vae.decoder(latents)
        return alone
    vae.clear_cache()  # of the frame before, which a picture does not have
    vae._conv_idx = [0]
    only = {"first_chunk": True} if isinstance(vae, AutoencoderKLQwenImage21) else {}
    frames = vae.decoder(vae.post_quant_conv(latents), feat_cache=vae._feat_map, feat_idx=vae._conv_idx, **only)
    vae.clear_cache()
    first: torch.Tensor = frames[:, :, 0]
    return first


def _blend(edge: torch.Tensor, tile: torch.Tensor, axis: int) -> None:
    """Fade ``edge`` out over the beginning of ``tile``, in place; what ``edge`` holds is lost.

    Two products, each rounded to the tile's dtype, then their sum: float32 weights in place on a half
    tensor round as its product with a Python number does.
    """
    length = edge.shape[axis]
    fading, rising = _weights(length, axis, tile.device)
    tile.narrow(axis, 0, length).mul_(rising).add_(edge.mul_(fading))


@lru_cache(maxsize=16)
def _weights(length: int, axis: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of both sides of an edge. Python's numbers, float64, become float32 in torch's kernels."""
    rising = torch.arange(length, dtype=torch.float64) / length
    shape = [-1, 1] if axis == 2 else [-1]
    fading, rising = (1 - rising).reshape(shape), rising.reshape(shape)
    return fading.to(device, torch.float32), rising.to(device, torch.float32)
