"""Perturbed-attention guidance for one call: SANA's pipeline becomes diffusers' SanaPAGPipeline and back.

The components, their offloading and their LoRAs stay what they are. Everything is put back in any case:
SanaPAGPipeline itself leaves its attention in the transformer when its call raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline, SanaPAGPipeline, SanaPipeline
from diffusers.models.attention_processor import (
    PAGCFGSanaLinearAttnProcessor2_0,
    PAGIdentitySanaLinearAttnProcessor2_0,
)

from batch.base.errors import TaskError
from batch.catalogue import pag
from batch.records.kinds import Stage
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.render.untyped import Keywords


def settle(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """A pipeline that was saved as SanaPAGPipeline as the SanaPipeline it is without: that one loads LoRAs too.

    The layers it was saved with stay its ``pag_applied_layers``.
    """
    if type(pipe) is SanaPAGPipeline:
        pipe.__class__ = SanaPipeline
    return pipe


@contextmanager
def switched_on(pipe: DiffusionPipeline, task: Task) -> Iterator[Keywords]:
    """The pipeline with the task's PAG as long as this lasts; what its call is to be told of it.

    Nothing happens where the task has none. Raises :class:`TaskError` for a transformer that diffusers'
    perturbed layers do not know.
    """
    if not pag.scale(task.extra):
        yield {}
        return
    given: Keywords = dict(task.extra)
    own = {module: module.processor for module in pipe.transformer.modules() if hasattr(module, "processor")}
    if any(getattr(module, "norm_q", None) is not None for module in own):
        raise TaskError("PAG spoils a model whose attention normalises queries and keys", stage=Stage.DENOISE)
    layers = getattr(pipe, "pag_applied_layers", None)
    asked = given.get(pag.LAYERS) or layers or pag.default_layer(pipe.transformer.config.num_layers)
    pipe.__class__ = SanaPAGPipeline
    try:
        pipe.set_pag_applied_layers(
            [asked] if isinstance(asked, str) else list(asked),
            (PAGCFGSanaLinearAttnProcessor2_0(), PAGIdentitySanaLinearAttnProcessor2_0()),
        )
        yield {name: given[name] for name in (pag.SCALE, pag.ADAPTIVE) if name in given}
    finally:
        pipe.pag_applied_layers = layers
        pipe.__class__ = SanaPipeline
        for module, processor in own.items():
            module.processor = processor
