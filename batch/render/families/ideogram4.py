"""Ideogram 4, whose call takes no embeddings: what it encodes depends on the size of the picture too.

Text stands at the end of 2,048 places before the picture's; the features of a text are the same for every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render.families import common
from batch.render.families.staged import Staged

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.tiles import Pieces


class Ideogram4(Staged):
    """Its ``encode_prompt`` is put back together around the call."""

    __slots__ = ()

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
        **more: object,
    ) -> torch.Tensor:
        """``[n, channels, height, width]``."""
        each = [item[0]["prompt_embeds"] for item in texts]

        def encoded(
            *, grid_h: int, grid_w: int, max_sequence_length: int, device: torch.device, **_: object
        ) -> tuple[torch.Tensor, ...]:
            made = torch.zeros(len(each), max_sequence_length + grid_h * grid_w, each[0].shape[-1], device=device)
            for row, text in zip(made, each, strict=True):
                row[max_sequence_length - len(text) : max_sequence_length] = text
            lengths = [len(text) for text in each]
            return made, *pipe._prepare_ids(lengths, grid_h, grid_w, max_sequence_length, device)

        more["prompt"] = [task.prompt for task in tasks]  # counted by the call, and not read
        if tasks[0].guidance:
            more["guidance_schedule"] = None
        pipe.encode_prompt = encoded
        try:
            return Staged.denoise(self, pipe, tasks, [[] for _ in tasks], device, on_step, **more)
        finally:
            del pipe.encode_prompt

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
        """An image in -1..1, in float32, in which the pipeline rounds it."""
        parts = Staged.decode(self, pipe, task, latents)
        return replace(parts, each=(replace(part, image=part.image.float()) for part in parts.each))
