"""The blocks of a pipeline's denoiser compiled one by one (torch.compile, Inductor).

Whole models take minutes to compile and again for every size; one block is compiled once and serves all blocks of
its kind. Moves low bits of the picture, so a run says for each size whether it is done, and receipts say it too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import DiffusionPipeline

from batch.catalogue.families import DENOISERS, FAMILIES, PIPELINE_FAMILY

_SHAPES = 64
"""Sizes and batches a block is compiled for before torch gives up and runs it uncompiled."""


class Compiler:
    """Compiles the pipeline of one session, and takes it back."""

    def __init__(self) -> None:
        self.on = False
        self.excuse = ""
        """Why nothing is compiled though it was asked for; to be told once."""
        self.failed = False
        """It is given up for this pipeline."""

    def switch(self, pipe: DiffusionPipeline, *, on: bool) -> None:
        """Render compiled from now on, or not. Nothing is compiled before a block is called."""
        on = on and not self.failed
        if on == self.on:
            return
        blocks = list(_blocks(pipe))
        if not blocks:
            self.failed, self.excuse = True, f"{type(pipe).__name__} has no blocks of a kind that can be compiled"
        family = PIPELINE_FAMILY.get(type(pipe).__name__, "generic")
        for block in blocks:
            if on:
                # None: a length that changes is compiled once more, for all lengths.
                block.compile(dynamic=None if FAMILIES[family].texts_vary else False)
            else:
                block._compiled_call_impl = None
        self.on = on and bool(blocks)
        torch._dynamo.config.recompile_limit = _SHAPES

    def give_up(self, pipe: DiffusionPipeline) -> None:
        """It has failed: never again in this session."""
        self.switch(pipe, on=False)
        self.failed = True

    def compiled(self) -> int:
        """How often this process has compiled something: whatever made it new, a stage that raises it warms up."""
        if not self.on:
            return 0
        from torch._dynamo.utils import counters  # seconds of importing, for who compiles

        return sum(counters["frames"].values())


def _blocks(pipe: DiffusionPipeline) -> Iterator[torch.nn.Module]:
    """The repeated blocks of the denoiser: those diffusers names, else the lists of its transformer blocks."""
    for model in (getattr(pipe, name, None) for name in DENOISERS):
        if model is None:
            continue
        named = getattr(model, "_repeated_blocks", None) or ()
        if named:
            yield from (module for module in model.modules() if type(module).__name__ in named)
        else:
            for name, children in model.named_children():
                if name.endswith("transformer_blocks") and isinstance(children, torch.nn.ModuleList):
                    yield from children
