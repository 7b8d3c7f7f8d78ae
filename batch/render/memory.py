"""Memory steps carried out on a pipeline. ``plan/memory.py`` says what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from batch.records import Call

ACTIVATIONS_GIB_PER_PIXEL = 3.0 / (5376 * 3072)
"""Denoising 5376x3072 with guidance takes 2.7 GiB of activations in SANA 1.6B, decoding in tiles of 1024
takes 1.7 GiB; both grow with the pixels."""

CONTEXT_GIB = 1.0
"""CUDA context and fragmentation."""


def apply(pipe: Any, steps: tuple[Call, ...], device: str) -> None:
    """Bring a pipeline from whatever setting it had to this one."""
    pipe.remove_all_hooks()
    pipe.vae.disable_tiling()
    names = [step.name for step in steps]
    if "model_cpu_offload" not in names or device == "cpu":
        pipe.to(device)
    for step in steps:
        STEPS[step.name](pipe, dict(step.arguments), device)


def _vae_tiling(pipe: Any, arguments: dict[str, Any], _device: str) -> None:
    # All four, always: what is left out keeps its old value, and a stride of 448 under a tile of 1024
    # decodes three times the tiles.
    pipe.vae.enable_tiling(
        tile_sample_min_height=arguments["tile_height"],
        tile_sample_min_width=arguments["tile_width"],
        tile_sample_stride_height=arguments["stride_height"],
        tile_sample_stride_width=arguments["stride_width"],
    )


def _model_cpu_offload(pipe: Any, _arguments: dict[str, Any], device: str) -> None:
    if device != "cpu":  # on the CPU everything is where it would be offloaded to
        pipe.enable_model_cpu_offload(device=device)


STEPS: dict[str, Callable[[Any, dict[str, Any], str], None]] = {
    "vae_tiling": _vae_tiling,
    "model_cpu_offload": _model_cpu_offload,
}


def placement(pipe: Any, pixels: int, device: str) -> tuple[Call, ...]:
    """What ``auto`` adds for this card: offloading when weights and activations would not fit.

    Decides where tensors lie, never what the picture is.
    """
    if not device.startswith("cuda"):
        return ()
    total = torch.cuda.get_device_properties(device).total_memory
    weights = sum(
        tensor.numel() * tensor.element_size()
        for component in (pipe.transformer, pipe.vae)
        for tensor in component.parameters()
    )
    needed = weights + (pixels * ACTIVATIONS_GIB_PER_PIXEL + CONTEXT_GIB) * 2**30
    return () if needed < total else (Call(name="model_cpu_offload"),)
