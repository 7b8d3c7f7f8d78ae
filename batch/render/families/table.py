"""The families that are rendered in stages, and how each of them is.

Most are rows for :mod:`batch.render.families.staged`. A file of their own have those whose call does more around a
stage: SANA-Sprint (timesteps), SDXL (texts in pieces, an autoencoder that overflows), HiDream (its default size),
Stable Diffusion 3 (its third encoder may be missing), Ideogram 4 (takes no embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from diffusers import DiffusionPipeline

from batch.records.receipts import TextTokens
from batch.records.tasks import EncodeTask, Task
from batch.render import pag, pieces, tokens
from batch.render.families import common, hidream, ideogram4, sana_sprint, sd3, sdxl, staged
from batch.render.families.staged import Staged

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, OnStep
    from batch.render.tiles import Pieces


class FamilyModule(Protocol):
    """How a family is staged. The three together give the same bits as one call of the pipeline."""

    def encode(self, pipe: DiffusionPipeline, task: EncodeTask, device: str, /) -> Embeds:
        """The embeddings of one text, by name without ``negative_``."""
        ...

    def denoise(
        self,
        pipe: DiffusionPipeline,
        tasks: Sequence[Task],
        texts: Sequence[Sequence[Embeds]],
        device: str,
        on_step: OnStep,
        /,
    ) -> torch.Tensor:
        """Latents of tasks that differ in texts and seed only, ``[n, …]``; see :func:`.common.denoise`."""
        ...

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor, /) -> Pieces:
        """The picture of latents, in -1..1."""
        ...


_MASKED = (
    "prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask",
)  # fmt: skip
_POOLED = (
    "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
)  # fmt: skip

FAMILIES: Mapping[str, FamilyModule] = {
    "sana": Staged(family="sana", gives=_MASKED, around=pag.switched_on, decoding=common.decode_resized),
    "sana_sprint": Staged(
        family="sana_sprint", gives=_MASKED[:2], around=sana_sprint.timed, decoding=common.decode_resized
    ),
    "sdxl": sdxl,
    "pixart": Staged(family="pixart", gives=_MASKED, decoding=common.decode_resized),
    "flux": Staged(family="flux", gives=("prompt_embeds", "pooled_prompt_embeds", ""), decoding=common.decode),
    "sd3": sd3.StableDiffusion3(family="sd3", gives=_POOLED, join=sd3.join, decoding=common.decode),
    "qwen_image": Staged(
        family="qwen_image", gives=("prompt_embeds", ""), join=staged.masked, decoding=common.decode
    ),
    "z_image": Staged(family="z_image", join=staged.listed, decoding=common.decode),
    "flux2": Staged(family="flux2", gives=("prompt_embeds", "")),
    "flux2_klein": Staged(family="flux2_klein", gives=("prompt_embeds", "")),
    "qwen_image_21": Staged(family="qwen_image_21", gives=("prompt_embeds", "", ""), join=staged.masked),
    "krea2": Staged(family="krea2", gives=("prompt_embeds", "prompt_embeds_mask"), mask="prompt_embeds_mask"),
    "ideogram4": ideogram4.Ideogram4(family="ideogram4"),
    "ernie_image": Staged(family="ernie_image", gives=("prompt_embeds",), join=staged.listed),
    # No mask here: Chroma's attention adds it, so that what fills a text up is seen as well.
    "chroma": Staged(family="chroma", gives=(_MASKED[0], "", _MASKED[1], _MASKED[2], "", _MASKED[3])),
    "lumina2": Staged(family="lumina2", gives=_MASKED, mask=_MASKED[1]),
    "hidream": Staged(
        family="hidream",
        gives=(
            "prompt_embeds_t5", "negative_prompt_embeds_t5",
            "prompt_embeds_llama3", "negative_prompt_embeds_llama3",
            "pooled_prompt_embeds", "negative_pooled_prompt_embeds",
        ),
        around=hidream.sized,
    ),
    "cogview4": Staged(family="cogview4"),
    "ovis_image": Staged(family="ovis_image", gives=("prompt_embeds", "negative_prompt_embeds", "", "")),
    "prx": Staged(family="prx", gives=_MASKED, mask=_MASKED[1]),
    "anima": Staged(family="anima", gives=("prompt_embeds",)),
    "flux3": Staged(family="flux3", gives=("prompt_embeds",)),
    "flux3_distilled": Staged(family="flux3_distilled", gives=("prompt_embeds",)),
    "aura_flow": Staged(family="aura_flow", gives=_MASKED),
}  # fmt: skip


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
