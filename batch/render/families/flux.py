"""Flux: CLIP and T5 text encoders, transformer over packed latents, guidance embedded instead of doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces

denoise = common.denoise


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 512, 4096] from T5, ``pooled_prompt_embeds`` [1, 768] from CLIP."""
    arguments = common.text_arguments(pipe, task, "flux")
    if task.negative:
        arguments["prompt_2"] = arguments.pop("negative_prompt_2")
    with torch.no_grad():
        embeds, pooled, _ = pipe.encode_prompt(task.text, device=device, **arguments)
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def decode(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    config = pipe.vae.config
    latents = pipe._unpack_latents(latents, task.rendered_height, task.rendered_width, pipe.vae_scale_factor)
    latents = latents.to(pipe.vae.dtype) / config.scaling_factor + config.shift_factor
    return tiles.decode(pipe.vae, latents)
