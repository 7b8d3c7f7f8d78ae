"""Stable Diffusion 3 and 3.5, whose third text encoder (T5) may be missing.

``encode_prompt`` asks the transformer how wide T5's embeddings would be, but that is not loaded with the encoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline
from torch.nn import functional

from batch.base.errors import UserError
from batch.records.tasks import EncodeTask
from batch.render.families import common
from batch.render.families.staged import Staged

if TYPE_CHECKING:
    from batch.render.families.common import Embeds
    from batch.render.untyped import Keywords


class StableDiffusion3(Staged):
    """:class:`Staged`, with or without T5."""

    __slots__ = ()

    def encode(self, pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
        """``prompt_embeds`` [1, 77 + 256, 4096] of CLIP and then T5, ``pooled_prompt_embeds`` [1, 2048] of CLIP.

        Without T5 the rows that it would fill are zeros, and all rows have the width of CLIP's: :func:`join`
        widens them.
        """
        if pipe.text_encoder_3 is not None:
            return Staged.encode(self, pipe, task, device)
        for name in ("prompt_3", "negative_prompt_3"):
            if dict(task.arguments).get(name):
                raise UserError(f"extra.{name} has no effect: {task.model} is without its third text encoder (T5)")
        with _as_wide_as_clip(pipe):
            return Staged.encode(self, pipe, task, device)


@contextmanager
def _as_wide_as_clip(pipe: DiffusionPipeline) -> Iterator[None]:
    width = pipe.text_encoder.config.hidden_size + pipe.text_encoder_2.config.hidden_size
    pipe.transformer = SimpleNamespace(config=SimpleNamespace(joint_attention_dim=width))
    try:
        yield
    finally:
        pipe.transformer = None


def join(pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Embeddings of several texts one below the other, as wide as the transformer takes them."""
    joined = common.join(pipe, texts, device)
    missing = pipe.transformer.config.joint_attention_dim - joined["prompt_embeds"].shape[-1]
    return joined | {"prompt_embeds": functional.pad(joined["prompt_embeds"], (0, missing))}
