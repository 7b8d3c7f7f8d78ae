"""Qwen-Image: Qwen2.5-VL as text encoder, transformer over packed latents, an autoencoder made for videos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from torch.nn.utils.rnn import pad_sequence

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces
    from batch.render.untyped import Keywords


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, tokens, 3584], as many as the text has, up to 512."""
    arguments = common.text_arguments(pipe, task, "qwen_image")
    with torch.no_grad():
        embeds, _ = pipe.encode_prompt(task.text, device=device, **arguments)
    return {"prompt_embeds": embeds}


def join(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Embeddings of several texts one below the other: zeros up to the longest, and a mask of them."""
    each = [item["prompt_embeds"][0] for item in texts]
    mask = [torch.ones(len(item), dtype=torch.long) for item in each]
    return {
        "prompt_embeds": pad_sequence(each, batch_first=True).to(device),
        "prompt_embeds_mask": pad_sequence(mask, batch_first=True).to(device),
    }


denoise = partial(common.denoise, join=join)


def decode(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    vae, size = pipe.vae, (task.rendered_height, task.rendered_width)
    latents = pipe._unpack_latents(latents, *size, pipe.vae_scale_factor).to(vae.dtype)
    mean, std = (
        torch.tensor(item).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
        for item in (vae.config.latents_mean, vae.config.latents_std)
    )
    # Divided by the reciprocal, as the pipeline does: multiplying rounds otherwise.
    return tiles.decode(vae, latents / (1.0 / std) + mean)
