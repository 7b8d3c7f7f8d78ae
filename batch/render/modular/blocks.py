"""What pipelines made of diffusers' blocks have in common (``diffusers.modular_pipelines``).

They have what all others have: components by their names, ``encode_prompt``, a call that takes its results and
tells of every step, and hooks for offloading. What is computed is the blocks'. They take the pipeline itself for
what they call components; guidance is a guider's, set as the call is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    ClassifierFreeGuidance,
    DiffusionPipeline,
    LoopSequentialPipelineBlocks,
    ModularPipelineBlocks,
)
from diffusers.modular_pipelines import PipelineState
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

if TYPE_CHECKING:
    from batch.render.untyped import Keywords

Generators = torch.Generator | list[torch.Generator] | None
OnStepEnd = Callable[[DiffusionPipeline, int, torch.Tensor, "Keywords"], object]

# Blocks log every exception that goes through them, a run's stop too; what it means is said elsewhere.
logging.getLogger("diffusers.modular_pipelines.modular_pipeline").setLevel(logging.CRITICAL)


class OfBlocks(DiffusionPipeline):
    """What these pipelines have in common."""

    def run(self, blocks: Iterable[Any], on_step: OnStepEnd | None = None, **given: object) -> PipelineState:
        """The state after blocks; each input is the first one's that takes it."""
        state = PipelineState()
        for block in blocks:
            for wanted in block.inputs:
                if wanted.name in given:
                    state.set(wanted.name, given.pop(wanted.name), wanted.kwargs_type)
            if isinstance(block, LoopSequentialPipelineBlocks):
                block.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
                block.sub_blocks["told"] = _Told(on_step)
            _, state = block(self, state)
        return state

    def picture(self, blocks: Iterable[Any], on_step: OnStepEnd | None, **given: object) -> ImagePipelineOutput:
        """What a call gives: the pictures after blocks."""
        with torch.no_grad():
            state = self.run(blocks, on_step, **given)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=state.get("images"))

    def guide(self, scale: float) -> bool:
        """Set guidance; whether it acts."""
        self.guider = ClassifierFreeGuidance(guidance_scale=scale, enabled=scale > 1)
        return scale > 1


class _Told(ModularPipelineBlocks):
    """The last block of a loop: tells that a step is done."""

    def __init__(self, on_step: OnStepEnd | None) -> None:
        super().__init__()
        self._on_step = on_step

    @property
    def description(self) -> str:
        """For diffusers."""
        return "Tells that a step is done."

    def __call__(self, components: DiffusionPipeline, state: Any, i: int, t: torch.Tensor) -> tuple[Any, Any]:
        """As blocks of a loop are called."""
        if self._on_step is not None:
            self._on_step(components, i, t, {})
        return components, state
