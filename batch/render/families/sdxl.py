"""Stable Diffusion XL: two CLIP text encoders, U-Net, 8x autoencoder that overflows in float16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline
from diffusers.configuration_utils import FrozenDict

from batch.records.tasks import EncodeTask, Task
from batch.render import pieces, tiles
from batch.render.families import common
from batch.render.pieces import Encoder

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.tiles import Pieces


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 77, 2048] of both encoders side by side, ``pooled_prompt_embeds`` [1, 1280].

    In pieces (:mod:`batch.render.pieces`) the first has as many rows as the text needs, and :data:`PADDING` is
    there.
    The negative text goes through as one, not as a prompt: an empty one becomes zeros where the model says
    so, and ``clip_skip`` does not touch it.
    """
    arguments = common.text_arguments(pipe, task, "sdxl")
    if pieces.asked(task) and (task.text or not task.negative or not pipe.config.force_zeros_for_empty_prompt):
        return _in_pieces(pipe, task, device)
    with torch.no_grad():
        if task.negative:
            _, embeds, _, pooled = pipe.encode_prompt(
                "", device=device, negative_prompt=task.text or None, **arguments
            )
        else:
            embeds, _, pooled, _ = pipe.encode_prompt(
                task.text, device=device, do_classifier_free_guidance=False, **arguments
            )
    made = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    return made | ({PADDING: torch.zeros_like(embeds)} if task.long_prompts else {})


PADDING = "padding_embeds"
"""Beside a text in pieces: the embeddings of an empty piece ``[1, 77, 2048]``, to make two texts as long."""


def _in_pieces(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    dtype = pipe.text_encoder_2.dtype
    embeds, pooled = pieces.encode(encoders(pipe, task), task, device)
    assert pooled is not None  # of the second encoder
    made = {"prompt_embeds": embeds.to(dtype), "pooled_prompt_embeds": pooled.to(dtype)}
    if task.long_prompts:
        empty = [replace(item, text="") for item in encoders(pipe, task)]
        made[PADDING] = pieces.encode(empty, task, device)[0].to(dtype)
    return made


def encoders(pipe: DiffusionPipeline, task: EncodeTask) -> list[Encoder]:
    """The two encoders, each with the text that it reads and the layer that the call takes."""
    given = dict(task.arguments)
    second = given.get("negative_prompt_2" if task.negative else "prompt_2") or task.text
    skip = None if task.negative else given.get("clip_skip")

    def layer(output: Any) -> torch.Tensor:
        states: torch.Tensor = output.hidden_states[-2 if skip is None else -(int(str(skip)) + 2)]
        return states

    return [
        Encoder(pipe.tokenizer, pipe.text_encoder, layer, task.text),
        Encoder(pipe.tokenizer_2, pipe.text_encoder_2, layer, str(second)),
    ]


def denoise(
    pipe: DiffusionPipeline, tasks: Sequence[Task], texts: Sequence[Sequence[Embeds]], device: str, on_step: OnStep
) -> torch.Tensor:
    """:func:`common.denoise`, with the shorter one of two texts in pieces made as long as the other."""
    longest = max(text["prompt_embeds"].shape[1] for item in texts for text in item)
    alike = [[_as_long(text, longest) for text in item] for item in texts]
    return common.denoise(pipe, tasks, alike, device, on_step)


def _as_long(text: Embeds, length: int) -> Embeds:
    rest = {name: value for name, value in text.items() if name != PADDING}
    if PADDING not in text:
        return rest
    return rest | {"prompt_embeds": pieces.padded(text["prompt_embeds"], text[PADDING], length)}


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
