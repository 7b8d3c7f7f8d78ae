"""SANA: perturbed-attention guidance around the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiffusionPipeline

from batch.records.tasks import Task
from batch.render import pag
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep


def denoise(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    texts: Sequence[Sequence[Embeds]],
    device: str,
    on_step: OnStep,
    **more: Any,
) -> torch.Tensor:
    """:func:`common.denoise`, with perturbed-attention guidance where the tasks say so."""
    with pag.switched_on(pipe, tasks[0]) as settings:
        return common.denoise(pipe, tasks, texts, device, on_step, **more, **settings)
