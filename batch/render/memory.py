"""Memory steps carried out on a pipeline. ``plan/memory.py`` says what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from batch.errors import UserError
from batch.records import Call
from batch.render.cap import room

ACTIVATIONS_GIB_PER_PIXEL = 3.0 / (5376 * 3072)
"""Denoising 5376x3072 with guidance takes 2.7 GiB of activations in SANA 1.6B, decoding in tiles of 1024
takes 1.7 GiB; both grow with the pixels."""

FULL_DECODE_GIB_PER_PIXEL = 4.0 / (1024 * 1024)
"""An 8x autoencoder works at full resolution with hundreds of channels: a picture of one megapixel decoded in
one piece takes about 4 GiB in float32. An estimate that offloads too early is slower, never wrong."""

CONTEXT_GIB = 1.0
"""CUDA context and fragmentation."""

OFFLOADS = frozenset({"model_cpu_offload", "sequential_cpu_offload"})


def apply(pipe: Any, steps: tuple[Call, ...], device: str) -> None:
    """Bring a pipeline from whatever setting it had to this one.

    Raises :class:`UserError` for a step that this pipeline cannot carry out.
    """
    pipe.remove_all_hooks()
    if hasattr(_autoencoder(pipe), "disable_tiling"):
        _autoencoder(pipe).disable_tiling()
    if device == "cpu" or not offloads(steps):
        pipe.to(device)
    for step in steps:
        STEPS[step.name](pipe, dict(step.arguments), device)


def unhook(module: Any) -> None:
    """Take a module out of offloading; its weights are in host memory afterwards or where they were."""
    from accelerate.hooks import remove_hook_from_module

    remove_hook_from_module(module, recurse=True)


def _autoencoder(pipe: Any) -> Any:
    return getattr(pipe, "vae", None)


def _vae_tiling(pipe: Any, arguments: dict[str, Any], _device: str) -> None:
    vae = _autoencoder(pipe)
    enable = getattr(vae, "enable_tiling", None)
    takes = inspect.signature(enable).parameters if enable is not None else {}
    if "tile_sample_stride_height" in takes:
        step = vae.spatial_compression_ratio
        if any(value % step for value in arguments.values()):
            raise UserError(
                f"memory: tile and stride are multiples of {step}, which is what a latent of {type(vae).__name__} "
                f"covers in {type(pipe).__name__}"
            )
        # All four, always: what is left out keeps its old value, and a stride of 448 under a tile of 1024
        # decodes three times the tiles.
        vae.enable_tiling(
            tile_sample_min_height=arguments["tile_height"],
            tile_sample_min_width=arguments["tile_width"],
            tile_sample_stride_height=arguments["stride_height"],
            tile_sample_stride_width=arguments["stride_width"],
        )
    elif all(hasattr(vae, name) for name in _SQUARE) and "block_out_channels" in vae.config:
        _square_tiles(vae, arguments)
    else:
        raise UserError(
            f"memory: {type(vae).__name__} of {type(pipe).__name__} cannot decode in tiles of a given size; "
            "write memory: full"
        )


_SQUARE = ("tile_sample_min_size", "tile_latent_min_size", "tile_overlap_factor")


def _square_tiles(vae: Any, arguments: dict[str, Any]) -> None:
    """AutoencoderKL has square tiles, and an overlap as a fraction from which it takes whole latents.

    Its ``enable_tiling`` takes no numbers: the tile comes from the configuration, so it is set here.
    """
    tile, stride = arguments["tile_height"], arguments["stride_height"]
    if (tile, stride) != (arguments["tile_width"], arguments["stride_width"]):
        raise UserError(
            f"memory: {type(vae).__name__} decodes in square tiles; write vae_tiling({tile}, {stride})"
        )
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // scale
    # The decoder takes whole latents and whole pixels of this fraction: as a float, 1/5 of 320 may be 63.
    vae.tile_overlap_factor = Fraction(tile - stride, tile)
    vae.enable_tiling()


def _model_cpu_offload(pipe: Any, _arguments: dict[str, Any], device: str) -> None:
    if device != "cpu":  # on the CPU everything is where it would be offloaded to
        pipe.enable_model_cpu_offload(device=device)


def _sequential_cpu_offload(pipe: Any, _arguments: dict[str, Any], device: str) -> None:
    if device != "cpu":
        pipe.to("cpu")  # weights that are on the card stay there otherwise, and nothing is saved
        pipe.enable_sequential_cpu_offload(device=device)


def _vae_cpu(pipe: Any, _arguments: dict[str, Any], _device: str) -> None:
    """Nothing to prepare: the session moves the autoencoder for the decoding (:func:`vae_on_cpu`)."""
    if _autoencoder(pipe) is None:
        raise UserError(f"memory: {type(pipe).__name__} has no autoencoder to run on the CPU")


STEPS: dict[str, Callable[[Any, dict[str, Any], str], None]] = {
    "vae_tiling": _vae_tiling,
    "model_cpu_offload": _model_cpu_offload,
    "sequential_cpu_offload": _sequential_cpu_offload,
    "vae_cpu": _vae_cpu,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """What the loaded components take on a device, apart from activations."""

    weights: int
    """Bytes."""
    autoencoder: str = ""
    """Its class."""


def placement(burden: Burden, pixels: int, device: str) -> tuple[Call, ...]:
    """What ``auto`` adds for this card: offloading when weights and activations would not fit.

    Decides where tensors lie, never what the picture is.
    """
    total = room(device)
    needed = burden.weights + (_activations_gib(burden.autoencoder, pixels) + CONTEXT_GIB) * 2**30
    return () if needed < total else (Call(name="model_cpu_offload"),)


def offloads(steps: tuple[Call, ...]) -> bool:
    """Whether weights lie in host memory between their turns under a setting."""
    return not OFFLOADS.isdisjoint(step.name for step in steps)


def _activations_gib(autoencoder: str, pixels: int) -> float:
    if autoencoder == "AutoencoderDC":
        return pixels * ACTIVATIONS_GIB_PER_PIXEL
    return min(pixels, 1280 * 1024) * FULL_DECODE_GIB_PER_PIXEL  # above that size auto decodes in tiles
