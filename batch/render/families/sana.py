"""SANA: Gemma-2 text encoder, linear transformer, 32x deep-compression autoencoder."""

from __future__ import annotations

from typing import Any

import torch

from batch.records import EncodeTask, ModelSource, Task
from batch.render.families import common
from batch.render.families.common import Embeds, OnStep


def _dtype(name: str) -> common.Dtype:
    """float16 is right for the transformer of some checkpoints only: text encoder and autoencoder overflow."""
    if name == "float16":
        return {"transformer": torch.float16, "default": torch.bfloat16}
    return common.DTYPES[name]


def load_text_encoder(source: ModelSource, dtype: str, device: str) -> Any:
    """The pipeline with tokenizer and text encoder only."""
    return common.load_text_encoder(source, _dtype(dtype), device)


def load(source: ModelSource, dtype: str) -> Any:
    """The pipeline without its text encoder, in host memory."""
    return common.load_without_texts(source, _dtype(dtype))


def load_decoder(source: ModelSource, dtype: str) -> Any:
    """The pipeline with its autoencoder only, in host memory."""
    return common.load_decoder(source, _dtype(dtype))


def encode(pipe: Any, task: EncodeTask, device: str) -> Embeds:
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
    pipe: Any, task: Task, positive: Embeds, negative: Embeds | None, device: str, on_step: OnStep
) -> torch.Tensor:
    """Latents ``[1, channels, height/32, width/32]``, float32."""
    return common.denoise(pipe, task, "sana", positive, negative, device, on_step)


def decode(pipe: Any, task: Task, latents: torch.Tensor) -> torch.Tensor:
    """An image tensor ``[1, 3, height, width]`` in -1..1, in the autoencoder's dtype."""
    return common.decode_scaled(pipe, task, latents)
