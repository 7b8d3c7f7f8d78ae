"""SANA-Sprint: SANA distilled to one to four steps, whose timesteps its call takes in a way of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline

from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.render.untyped import Keywords

TIMED_STEPS = 2
"""The number of steps for which the call places the timestep in the middle itself."""


@contextmanager
def timed(pipe: DiffusionPipeline, task: Task) -> Iterator[Keywords]:
    """What the call takes beside the rest, so that it takes the number of steps and timesteps of such tasks."""
    own, more = pipe.scheduler, {}
    if dict(task.extra).get("timesteps") is not None:
        # The call hands them to the scheduler without their number, which that one demands (diffusers 0.42).
        pipe.scheduler = copy(own)
        pipe.scheduler.set_timesteps = partial(own.__class__.set_timesteps, pipe.scheduler, task.steps)
        more = {"max_timesteps": None, "intermediate_timesteps": None}
    elif task.steps != TIMED_STEPS:
        more = {"intermediate_timesteps": None}  # by default a number, which is refused then
    try:
        yield more
    finally:
        pipe.scheduler = own
