"""SANA: Gemma-2 text encoder, linear transformer, 32x deep-compression autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render import pag
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.tiles import Pieces


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 300, hidden] and ``prompt_attention_mask`` [1, 300].

    The call prefixes the prompt (not the negative one) with SANA's instruction; ``encode_prompt`` alone
    leaves the instruction out, and the picture becomes another one.
    """
    arguments = common.text_arguments(pipe, task, "sana")
    if task.negative:
        arguments["complex_human_instruction"] = None
    with torch.no_grad():
        embeds, mask, _, _ = pipe.encode_prompt(
            task.text, do_classifier_free_guidance=False, device=device, **arguments
        )
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def denoise(
    pipe: DiffusionPipeline, tasks: Sequence[Task], texts: Sequence[Sequence[Embeds]], device: str, on_step: OnStep
) -> torch.Tensor:
    """:func:`common.denoise`, with perturbed-attention guidance where the tasks say so."""
    with pag.switched_on(pipe, tasks[0]) as more:
        return common.denoise(pipe, tasks, texts, device, on_step, **more)


def decode(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """An image in -1..1, in the autoencoder's dtype."""
    return common.decode_scaled(pipe, task, latents)
