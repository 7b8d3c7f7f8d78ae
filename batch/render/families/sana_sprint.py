"""SANA-Sprint: SANA distilled to one to four steps, guidance embedded instead of doubled, no negative prompt."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import Task
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep

TIMED_STEPS = 2
"""The number of steps for which the call places the timestep in the middle itself."""


def denoise(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    texts: Sequence[Sequence[Embeds]],
    device: str,
    on_step: OnStep,
    **more: Any,
) -> torch.Tensor:
    """:func:`common.denoise` with the timesteps that the number of steps allows."""
    given = dict(tasks[0].extra)
    own = pipe.scheduler
    if given.get("timesteps") is not None:
        # The call hands them to the scheduler without their number, which that one demands (diffusers 0.42).
        pipe.scheduler = copy(own)
        pipe.scheduler.set_timesteps = partial(own.__class__.set_timesteps, pipe.scheduler, tasks[0].steps)
        more |= {"max_timesteps": None, "intermediate_timesteps": None}
    elif tasks[0].steps != TIMED_STEPS:
        more |= {"intermediate_timesteps": None}  # by default a number, which is refused then
    try:
        return common.denoise(pipe, tasks, texts, device, on_step, **more)
    finally:
        pipe.scheduler = own
