"""HiDream, whose call renders every size with as many pixels as its default size has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import Task
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.untyped import Keywords


def denoise(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    texts: Sequence[Sequence[Embeds]],
    device: str,
    on_step: OnStep,
    **more: Any,
) -> torch.Tensor:
    """:func:`common.denoise`, of the size that is asked for."""
    own, pixels = pipe.default_sample_size, tasks[0].rendered_width * tasks[0].rendered_height
    # Its root may be rounded down, and the size with it: one ten-millionth more changes no other size.
    pipe.default_sample_size = math.sqrt(pixels) / pipe.vae_scale_factor * (1 + 1e-7)
    try:
        return common.denoise(pipe, tasks, texts, device, on_step, **more)
    finally:
        pipe.default_sample_size = own


def join(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Embeddings of several texts one below the other; of Llama's, the layers come before the images."""
    axes = {"prompt_embeds_llama3": 1}
    return {name: torch.cat([item[name] for item in texts], axes.get(name, 0)).to(device) for name in texts[0]}
