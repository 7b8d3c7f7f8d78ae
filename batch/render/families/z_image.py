"""Z-Image: Qwen3 as text encoder, a transformer over text and picture as one sequence, Flux's autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces
    from batch.render.untyped import Keywords


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [tokens, 2560], as many as the text has, up to 512."""
    arguments = common.text_arguments(pipe, task, "z_image")
    with torch.no_grad():
        embeds, _ = pipe.encode_prompt(task.text, device=device, do_classifier_free_guidance=False, **arguments)
    return {"prompt_embeds": embeds[0]}


def join(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Embeddings of several texts as a list: the transformer itself brings them to one length."""
    return {"prompt_embeds": [item["prompt_embeds"].to(device) for item in texts]}


denoise = partial(common.denoise, join=join)


def decode(pipe: DiffusionPipeline, _task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    config = pipe.vae.config
    latents = latents.to(pipe.vae.dtype) / config.scaling_factor + config.shift_factor
    return tiles.decode(pipe.vae, latents)
