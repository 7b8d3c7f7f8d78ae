"""Stable Diffusion XL: two CLIP text encoders, U-Net, 8x autoencoder that overflows in float16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from diffusers.configuration_utils import FrozenDict

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces

denoise = common.denoise


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 77, 2048] of both encoders side by side, ``pooled_prompt_embeds`` [1, 1280].

    The negative text goes through as one, not as a prompt: an empty one becomes zeros where the model says
    so, and ``clip_skip`` does not touch it.
    """
    arguments = common.text_arguments(pipe, task, "sdxl")
    with torch.no_grad():
        if task.negative:
            _, embeds, _, pooled = pipe.encode_prompt(
                "", device=device, negative_prompt=task.text or None, **arguments
            )
        else:
            embeds, _, pooled, _ = pipe.encode_prompt(
                task.text, device=device, do_classifier_free_guidance=False, **arguments
            )
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def decode(pipe: DiffusionPipeline, _task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, float32 where the autoencoder had to be upcast."""
    vae = pipe.vae
    upcast = vae.dtype == torch.float16 and vae.config.force_upcast
    with torch.no_grad():
        if upcast:
            vae.to(dtype=torch.float32)
        try:
            latents = _unscaled(vae.config, latents.to(vae.dtype))
            image = vae.decode(latents, return_dict=False)[0]
        finally:
            if upcast:
                vae.to(dtype=torch.float16)
        if pipe.watermark is not None:  # the invisible-watermark package is installed
            image = pipe.watermark.apply_watermark(image)
    return tiles.of(image)


def _unscaled(config: FrozenDict, latents: torch.Tensor) -> torch.Tensor:
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        plain: torch.Tensor = latents / config.scaling_factor
        return plain
    mean, std = (torch.tensor(item).view(1, 4, 1, 1).to(latents.device, latents.dtype) for item in (mean, std))
    scaled: torch.Tensor = latents * std / config.scaling_factor + mean
    return scaled
