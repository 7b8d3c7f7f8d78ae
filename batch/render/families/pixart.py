"""PixArt-Sigma and PixArt-Alpha: T5 text encoder, transformer, 8x autoencoder; sizes from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces

denoise = common.denoise


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 300, hidden] and ``prompt_attention_mask`` [1, 300]; Alpha has 120 tokens."""
    arguments = common.text_arguments(pipe, task, "pixart")
    with torch.no_grad():
        embeds, mask, _, _ = pipe.encode_prompt(
            task.text, do_classifier_free_guidance=False, device=device, **arguments
        )
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def decode(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    return common.decode_scaled(pipe, task, latents)
