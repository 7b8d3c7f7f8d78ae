"""Stable Diffusion 3 and 3.5: two CLIP text encoders and T5, which may be missing; a multimodal transformer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline
from torch.nn import functional

from batch.base.errors import UserError
from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.tiles import Pieces
    from batch.render.untyped import Keywords


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 77 + 256, 4096] of CLIP and then T5, ``pooled_prompt_embeds`` [1, 2048] of CLIP.

    Without T5 the rows that it would fill are zeros, and all rows have the width of CLIP's: :func:`join` widens
    them.
    """
    arguments = common.text_arguments(pipe, task, "sd3")
    for name in ("prompt_3", "negative_prompt_3"):
        if pipe.text_encoder_3 is None and arguments.get(name):
            raise UserError(f"extra.{name} has no effect: {task.model} is without its third text encoder (T5)")
    if task.negative:
        arguments["prompt_2"] = arguments.pop("negative_prompt_2")
        arguments["prompt_3"] = arguments.pop("negative_prompt_3")
    with torch.no_grad():
        if pipe.text_encoder_3 is None:
            embeds, pooled = _clip_alone(pipe, task.text, arguments, device)
        else:
            embeds, _, pooled, _ = pipe.encode_prompt(
                task.text, device=device, do_classifier_free_guidance=False, **arguments
            )
    return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


def _clip_alone(
    pipe: DiffusionPipeline, text: str, arguments: Keywords, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``encode_prompt`` does; it asks the transformer for T5's width, but that is not loaded here."""
    texts = (text, arguments["prompt_2"] or text)
    parts = [
        pipe._get_clip_prompt_embeds(
            item, device=device, clip_skip=arguments.get("clip_skip"), clip_model_index=index
        )
        for index, item in enumerate(texts)
    ]
    embeds, pooled = (torch.cat(item, dim=-1) for item in zip(*parts, strict=True))
    return functional.pad(embeds, (0, 0, 0, arguments["max_sequence_length"])), pooled


def join(pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Embeddings of several texts one below the other, as wide as the transformer takes them."""
    joined = common.join(pipe, texts, device)
    missing = pipe.transformer.config.joint_attention_dim - joined["prompt_embeds"].shape[-1]
    return joined | {"prompt_embeds": functional.pad(joined["prompt_embeds"], (0, missing))}


denoise = partial(common.denoise, join=join)


def decode(pipe: DiffusionPipeline, _task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    config = pipe.vae.config
    latents = latents.to(pipe.vae.dtype) / config.scaling_factor + config.shift_factor
    return tiles.decode(pipe.vae, latents)
