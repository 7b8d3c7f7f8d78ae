"""SANA-Sprint: SANA distilled to one to four steps, guidance embedded instead of doubled, no negative prompt."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import EncodeTask, Task
from batch.render.families import common, sana
from batch.render.untyped import Keywords

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep

decode = sana.decode

TIMED_STEPS = 2
"""The number of steps for which the call places the timestep in the middle itself."""


def encode(pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
    """``prompt_embeds`` [1, 300, hidden] and ``prompt_attention_mask`` [1, 300]."""
    with torch.no_grad():
        embeds, mask = pipe.encode_prompt(
            task.text, device=device, **common.text_arguments(pipe, task, "sana_sprint")
        )
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def denoise(
    pipe: DiffusionPipeline, tasks: Sequence[Task], texts: Sequence[Sequence[Embeds]], device: str, on_step: OnStep
) -> torch.Tensor:
    """:func:`common.denoise` with the timesteps that the number of steps allows."""
    given, more = dict(tasks[0].extra), Keywords()
    own = pipe.scheduler
    if given.get("timesteps") is not None:
        # The call hands them to the scheduler without their number, which that one demands (diffusers 0.42).
        pipe.scheduler = copy(own)
        pipe.scheduler.set_timesteps = partial(own.__class__.set_timesteps, pipe.scheduler, tasks[0].steps)
        more = {"max_timesteps": None, "intermediate_timesteps": None}
    elif tasks[0].steps != TIMED_STEPS:
        more = {"intermediate_timesteps": None}  # by default a number, which is refused then
    try:
        return common.denoise(pipe, tasks, texts, device, on_step, **more)
    finally:
        pipe.scheduler = own
