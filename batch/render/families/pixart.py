"""PixArt-Sigma and PixArt-Alpha: T5 text encoder, transformer, 8x autoencoder; sizes from a table."""

from __future__ import annotations

from typing import Any

import torch

from batch.records import EncodeTask, Task
from batch.render.families import common
from batch.render.families.common import Embeds
from batch.render.tiles import Parts


def encode(pipe: Any, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 300, hidden] and ``prompt_attention_mask`` [1, 300]; Alpha has 120 tokens."""
    arguments = common.text_arguments(pipe, task, "pixart")
    with torch.no_grad():
        embeds, mask, _, _ = pipe.encode_prompt(
            task.text, do_classifier_free_guidance=False, device=device, **arguments
        )
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def decode(pipe: Any, task: Task, latents: torch.Tensor) -> Parts:
    """An image in -1..1, in the autoencoder's dtype."""
    return common.decode_scaled(pipe, task, latents)
