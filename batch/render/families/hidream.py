"""HiDream, whose call renders every size with as many pixels as its default size has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline

from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.render.untyped import Keywords


@contextmanager
def sized(pipe: DiffusionPipeline, task: Task) -> Iterator[Keywords]:
    """While it lasts, the size that is asked for is the default one."""
    own, pixels = pipe.default_sample_size, task.rendered_width * task.rendered_height
    # Its root may be rounded down, and the size with it: one ten-millionth more changes no other size.
    pipe.default_sample_size = math.sqrt(pixels) / pipe.vae_scale_factor * (1 + 1e-7)
    try:
        yield {}
    finally:
        pipe.default_sample_size = own
