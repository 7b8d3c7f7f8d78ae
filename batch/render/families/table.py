"""The families that are rendered in stages, and what each of their files holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from diffusers import DiffusionPipeline

from batch.records.receipts import TextTokens
from batch.records.tasks import EncodeTask, Task
from batch.render import pieces, tokens
from batch.render.families import common, flux, pixart, qwen_image, sana, sana_sprint, sd3, sdxl, z_image
from batch.render.families.common import Embeds, OnStep

if TYPE_CHECKING:
    from batch.render.tiles import Pieces

Denoise = Callable[[DiffusionPipeline, Sequence[Task], Sequence[Sequence[Embeds]], str, OnStep], torch.Tensor]
"""See :func:`batch.render.families.common.denoise`."""


class FamilyModule(Protocol):
    """What a family's file holds. The three together give the same bits as one call of the pipeline."""

    def encode(self, pipe: DiffusionPipeline, task: EncodeTask, device: str, /) -> Embeds:
        """The embeddings of one text, by name without ``negative_``."""
        ...

    @property
    def denoise(self) -> Denoise:
        """Latents as the pipeline's own call gives them."""
        ...

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor, /) -> Pieces:
        """The picture of latents, in -1..1."""
        ...


FAMILIES: Mapping[str, FamilyModule] = {
    "sana": sana,
    "sana_sprint": sana_sprint,
    "sdxl": sdxl,
    "pixart": pixart,
    "flux": flux,
    "sd3": sd3,
    "qwen_image": qwen_image,
    "z_image": z_image,
}


def encode(
    pipe: DiffusionPipeline, family: str, task: EncodeTask, device: str
) -> tuple[Embeds, TextTokens | None]:
    """The embeddings of one text, and how much of it was read; None where no tokenizer says."""
    most = common.text_arguments(pipe, task, family).get("max_sequence_length")
    with tokens.watched(pipe, task.text, most) as seen:
        embeds = FAMILIES[family].encode(pipe, task, device)
    if pieces.asked(task):  # of these families SDXL alone
        return embeds, pieces.count(sdxl.encoders(pipe, task), task)
    return embeds, seen.tokens
