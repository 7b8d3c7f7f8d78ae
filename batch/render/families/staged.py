"""What diffusers' pipelines for pictures have in common, and so the one way in which most families are staged.

Every one of them has ``encode_prompt``, whose results its call takes in place of texts, and gives latents to
``vae.decode`` at its end. A family differs in the names of these results, in how texts of several images go into
one call, and in what it does to latents before they are decoded: :mod:`batch.render.families.table` has the rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch.nn.utils.rnn import pad_sequence

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Denoise, Embeds, Join, OnStep
    from batch.render.tiles import Pieces
    from batch.render.untyped import Keywords

Decode = Callable[[DiffusionPipeline, Task, torch.Tensor], "Pieces"]
"""The picture of latents, in -1..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A :class:`batch.render.families.table.FamilyModule`; its three parts give the bits of one call."""

    family: str
    gives: tuple[str, ...] = ("prompt_embeds", "negative_prompt_embeds")
    """What ``encode_prompt`` returns, by the call's argument that takes it; "" for what the call makes itself."""
    mask: str = ""
    """Which of these says what is text and what fills it up: the rest of the embeddings is not kept."""
    join: Join = common.join
    denoising: Denoise = common.denoise
    decoding: Decode = common.decode

    def encode(self, pipe: DiffusionPipeline, task: EncodeTask, device: str) -> Embeds:
        """``prompt_embeds`` [1, tokens, width] of most families, and what else their calls take beside it.

        A negative text that ``encode_prompt`` takes beside a prompt goes that way, since some treat it otherwise.
        """
        takes = inspect.signature(pipe.encode_prompt).parameters
        beside = task.negative and "negative_prompt" in takes
        given = common.text_arguments(pipe, task, self.family)
        given = {name: None for name, one in takes.items() if one.default is one.empty} | given
        if not beside:
            given = {name.removeprefix("negative_"): value for name, value in given.items()}
        given |= {"prompt": "", "negative_prompt": task.text} if beside else {"prompt": task.text}
        if "do_classifier_free_guidance" in takes:
            given["do_classifier_free_guidance"] = beside
        with torch.no_grad():
            made = pipe.encode_prompt(**given | {"device": device})
        named = dict(zip(self.gives, made if isinstance(made, tuple) else (made,), strict=True))
        prefix = "negative_" if beside else ""
        names = [name for name in self.gives if name and not name.startswith("negative_")]
        embeds = {name: _first(named[prefix + name]) for name in names if named[prefix + name] is not None}
        return _without_filling(embeds, self.mask)

    def denoise(
        self,
        pipe: DiffusionPipeline,
        tasks: Sequence[Task],
        texts: Sequence[Sequence[Embeds]],
        device: str,
        on_step: OnStep,
    ) -> torch.Tensor:
        """Latents as the pipeline's own call gives them."""
        whole = [[_with_filling(text, self.mask) for text in item] for item in texts]
        return self.denoising(pipe, tasks, whole, device, on_step, join=self.join)

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
        """An image in -1..1, in the autoencoder's dtype."""
        return self.decoding(pipe, task, latents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caught(Staged):
    """Its latents are those that the call gives to its autoencoder, unpacked and scaled by the pipeline itself."""

    decoding: Decode = lambda pipe, _task, latents: tiles.decode(pipe.vae, latents.to(pipe.vae.dtype))

    def denoise(
        self,
        pipe: DiffusionPipeline,
        tasks: Sequence[Task],
        texts: Sequence[Sequence[Embeds]],
        device: str,
        on_step: OnStep,
    ) -> torch.Tensor:
        """``[n, channels, height, width]``, or ``[n, channels, 1, height, width]`` of an autoencoder of videos."""
        whole = [[_with_filling(text, self.mask) for text in item] for item in texts]
        with _caught(pipe.vae):
            try:
                self.denoising(pipe, tasks, whole, device, on_step, join=self.join, output_type="pt")
            except _WouldDecodeError as caught:
                return caught.latents
        raise AssertionError(f"{type(pipe).__name__} has decoded nothing")


class _WouldDecodeError(Exception):
    """What would have been decoded."""

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.latents = latents


@contextmanager
def _caught(vae: ModelMixin) -> Iterator[None]:
    """While it lasts, decoding hands its latents out instead."""

    def decode(latents: torch.Tensor, *_given: object, **_named: object) -> None:
        raise _WouldDecodeError(latents)

    vae.decode = decode
    try:
        yield
    finally:
        del vae.decode


def opaque(pipe: DiffusionPipeline, _task: Task, latents: torch.Tensor) -> Pieces:
    """Qwen-Image 2.1's: its pictures have a fourth channel, how opaque they are, which is not kept."""
    parts = tiles.decode(pipe.vae, latents.to(pipe.vae.dtype))
    return replace(parts, each=(replace(part, image=part.image[:, :3]) for part in parts.each))


def _first(value: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    """Embeddings of the one text: some pipelines give a list with an item for each."""
    return value[0] if isinstance(value, list) else value


def _without_filling(embeds: Embeds, mask: str) -> Embeds:
    """Embeddings without the rows that nobody looks at: of 512 rows a text of 40 words needs 60."""
    if not mask:
        return embeds
    kept = embeds[mask].bool()
    return {name: value if name == mask else value[kept] for name, value in embeds.items()}


def _with_filling(embeds: Embeds, mask: str) -> Embeds:
    """The same with zeros in place of these rows: attention gives them no weight at all."""
    if not mask:
        return embeds
    kept = embeds[mask].bool()
    made: Embeds = {mask: embeds[mask]}
    for name, rows in embeds.items():
        if name != mask:
            made[name] = rows.new_zeros((*kept.shape, *rows.shape[1:]))
            made[name][kept] = rows
    return made


def listed(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """A list with an item for each text: the model itself brings them to one length."""
    return {name: [item[name].to(device) for item in texts] for name in texts[0]}


def masked(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Keywords:
    """Texts of many lengths one below the other: zeros up to the longest, and a mask of them."""
    each = [item["prompt_embeds"][0] for item in texts]
    mask = [torch.ones(len(item), dtype=torch.long) for item in each]
    return {
        "prompt_embeds": pad_sequence(each, batch_first=True).to(device),
        "prompt_embeds_mask": pad_sequence(mask, batch_first=True).to(device),
    }
