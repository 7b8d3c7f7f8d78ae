"""Any other text-to-image pipeline, called whole: one measurement for the call, none for its stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import DiffusionPipeline

from batch.base.errors import TaskError
from batch.records.kinds import Stage
from batch.records.tasks import Task
from batch.render import pieces, schedulers
from batch.render.families import common

if TYPE_CHECKING:
    from batch.records.receipts import TextTokens
    from batch.render.families.common import OnStep
    from batch.render.guards import Pixels


def counted(pipe: DiffusionPipeline, task: Task) -> tuple[TextTokens, ...]:
    """How much of prompt and negative prompt their encoder read, where they were encoded in pieces."""
    texts = (task.prompt, task.negative_prompt)
    return tuple(pieces.count(pieces.encoders_of(pipe, task, text), task) for text in texts)


def call(pipe: DiffusionPipeline, task: Task, on_step: OnStep) -> Pixels:
    """The pixels of ``pipe(...).images[0]``; Kandinsky 5 calls its images ``image``.

    The negative prompt is passed only if there is one, so that the call's own default holds otherwise.
    Raises :class:`TaskError` when what comes back is no picture.
    """
    arguments = common.call_arguments(pipe, task, task.extra, on_step)
    if pieces.asked(task):
        arguments |= pieces.for_call(pipe, task)
    else:
        arguments["prompt"] = task.prompt
        if task.negative_prompt:
            arguments["negative_prompt"] = task.negative_prompt
    drawing = schedulers.drawing(getattr(pipe, "scheduler", None), arguments.get("generator"))
    with torch.no_grad(), drawing:  # most calls say no_grad themselves; some of the older ones do not
        result = pipe(**arguments)
    if any(getattr(result, "nsfw_content_detected", None) or ()):
        raise TaskError("the model's safety checker blacked the picture out", stage=Stage.RENDER)
    images = getattr(result, "images", getattr(result, "image", None))
    if images is None or len(images) != 1:
        raise TaskError(f"{type(pipe).__name__} gave no single picture", stage=Stage.RENDER)
    image = images[0].convert("RGB")
    return np.asarray(image)
