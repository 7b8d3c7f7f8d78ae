"""Ideogram 4, whose call takes no embeddings: what it encodes depends on the size of the picture too.

Text stands at the end of 2,048 places before the picture's; the features of a text are the same for every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render.families import common
from batch.render.families.staged import Caught

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.tiles import Pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideogram4(Caught):
    """Its ``encode_prompt`` is put back together around the call."""

    def encode(self, pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
        """``prompt_embeds`` [tokens, 13 x 4096]: of 13 layers side by side, in the text encoder's dtype."""
        arguments = common.text_arguments(pipe, task, self.family)
        with torch.no_grad():
            made, _, _, roles = pipe.encode_prompt(task.text, 0, 0, device=torch.device(device), **arguments)
        # They were widened to float32, which adds nothing.
        return {"prompt_embeds": made[roles != 0].to(pipe.text_encoder.dtype)}

    def denoise(
        self,
        pipe: DiffusionPipeline,
        tasks: Sequence[Task],
        texts: Sequence[Sequence[Embeds]],
        device: str,
        on_step: OnStep,
    ) -> torch.Tensor:
        """``[n, channels, height, width]``."""
        each = [item[0]["prompt_embeds"] for item in texts]

        def encoded(
            *, grid_h: int, grid_w: int, max_sequence_length: int, device: torch.device, **_: object
        ) -> tuple[torch.Tensor, ...]:
            places = max_sequence_length + grid_h * grid_w
            made = torch.zeros(len(each), places, each[0].shape[-1], device=device)
            for row, text in zip(made, each, strict=True):
                row[max_sequence_length - len(text) : max_sequence_length] = text
            lengths = [len(text) for text in each]
            return made, *pipe._prepare_ids(lengths, grid_h, grid_w, max_sequence_length, device)

        pipe.encode_prompt = encoded
        try:
            # Not embeddings but what the call counts: one prompt for each image.
            return Caught.denoise(self, pipe, tasks, [[] for _ in tasks], device, on_step)
        finally:
            del pipe.encode_prompt

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
        """An image in -1..1, in float32, in which the pipeline rounds it."""
        parts = Caught.decode(self, pipe, task, latents)
        return replace(parts, each=(replace(part, image=part.image.float()) for part in parts.each))


def denoising(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    texts: Sequence[Sequence[Embeds]],
    device: str,
    on_step: OnStep,
    **more: Any,
) -> torch.Tensor:
    """:func:`common.denoise`, with a prompt instead of embeddings; one guidance takes the place of a schedule."""
    if tasks[0].guidance:
        more |= {"guidance_schedule": None}
    return common.denoise(pipe, tasks, texts, device, on_step, **more, prompt=[task.prompt for task in tasks])
