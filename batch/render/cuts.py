"""Denoising with less at a time: the halves of guidance one after the other, SANA's feed-forward in bands of rows.

Both put a class of ours over the one of a module for as long as the call lasts. Its own ``forward`` stays what
hooks of offloading have made of it, whichever they are and whatever they put there meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.models.transformers.sana_transformer import GLUMBConv
from torch import nn

from batch.base.errors import UserError
from batch.catalogue import pag
from batch.catalogue.families import DENOISERS, FAMILIES, PIPELINE_FAMILY
from batch.records.tasks import Task
from batch.records.values import Call

BAND = 4096
"""Latent pixels of a band. At 5376x3072 that is 24 rows of 168: a quarter of the picture, and the two rows at its
edges that are computed twice are a twelfth of it. Smaller bands save nothing, since attention takes more then."""


@contextmanager
def cut(pipe: DiffusionPipeline, steps: tuple[Call, ...], tasks: Sequence[Task]) -> Iterator[None]:
    """Denoise under these steps as long as this lasts.

    Raises :class:`UserError` for a step that the pipeline cannot take, and for one that came down the ladder and
    would save nothing.
    """
    names = {step.name for step in steps}
    asked = {step.name for step in tasks[0].memory_steps}
    with ExitStack() as stack:
        if "split_guidance" in names:
            stack.enter_context(_in_halves(pipe, tasks, needed="split_guidance" not in asked))
        if "chunked_ff" in names:
            stack.enter_context(_in_bands(pipe))
        yield


@contextmanager
def _as(kinds: Mapping[nn.Module, type]) -> Iterator[None]:
    """Modules as other classes, and back."""
    own = {module: module.__class__ for module in kinds}
    try:
        for module, kind in kinds.items():
            module.__class__ = kind
        yield
    finally:
        for module, kind in own.items():
            module.__class__ = kind


# Guidance


class _Halved:
    """A denoiser that goes through the two halves of a batch one after the other."""

    whole = 0
    """Images of a call that is to be halved; others, as of guidance that skips layers, are left as they are."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        # Named out of reach of nn.Module's own attributes: the class is put over an object that is there already.
        call = super().__call__  # type: ignore[misc]
        if not given or len(given[0]) != self.whole:
            return call(*given, **named)
        halves = [call(*_half(given, self.whole, index), **_half(named, self.whole, index)) for index in range(2)]
        return _joined(halves)


@cache
def _halved(kind: type, whole: int) -> type:
    return type(kind.__name__, (_Halved, kind), {"whole": whole, "__module__": kind.__module__})


def _in_halves(pipe: DiffusionPipeline, tasks: Sequence[Task], *, needed: bool) -> AbstractContextManager[None]:
    # With PAG the class of the pipeline is another for the call.
    family = FAMILIES[PIPELINE_FAMILY.get(type(pipe).__name__, "generic")]
    if not family.doubles or pag.scale(tasks[0].extra):
        raise UserError(f"memory: the call of {type(pipe).__name__} cannot be split into two halves of guidance")
    if needed and not family.guides(tasks[0].guidance):
        raise UserError("memory: without guidance there are no halves to split")
    models = [model for name in DENOISERS if (model := getattr(pipe, name, None)) is not None]
    return _as({model: _halved(model.__class__, 2 * len(tasks)) for model in models})


def _half(value: object, whole: int, index: int) -> Any:
    """One half of whatever holds a row for every image of a call."""
    again = partial(_half, whole=whole, index=index)
    if isinstance(value, torch.Tensor):
        return value.chunk(2)[index] if value.ndim and len(value) == whole else value
    if isinstance(value, dict):
        return {name: again(item) for name, item in value.items()}
    return type(value)(map(again, value)) if isinstance(value, list | tuple) else value


def _joined(halves: Sequence[Any]) -> Any:
    first = halves[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(halves))
    if isinstance(first, tuple):
        return tuple(_joined(parts) for parts in zip(*halves, strict=True))
    return first


# Feed-forward


class _Banded:
    """A feed-forward that sees one row beyond each band, which is as far as its convolution looks."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """``[n, channels, height, width]`` to the same."""
        height, width = hidden_states.shape[2:]
        rows = max(1, BAND // width)
        whole = super().forward  # type: ignore[misc]
        if rows >= height:
            return whole(hidden_states)
        made = torch.empty_like(hidden_states)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            above = max(0, top - 1)
            band = whole(hidden_states[:, :, above : bottom + 1])
            made[:, :, top:bottom] = band[:, :, top - above : bottom - above]
            del band  # before the next one is computed
        return made


@cache
def _banded(kind: type) -> type:
    return type(kind.__name__, (_Banded, kind), {"__module__": kind.__module__})


def _in_bands(pipe: DiffusionPipeline) -> AbstractContextManager[None]:
    model = getattr(pipe, "transformer", None)
    found = [part for part in model.modules() if isinstance(part, GLUMBConv)] if model is not None else []
    if not found:
        raise UserError(f"memory: {type(pipe).__name__} has no feed-forward that can go in bands (chunked_ff)")
    return _as({part: _banded(part.__class__) for part in found})
