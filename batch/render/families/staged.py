"""What diffusers' pipelines for pictures have in common, and so the one way in which most families are staged.

Every one of them has ``encode_prompt``, whose results its call takes in place of texts, and gives latents to
``vae.decode`` at its end. A family differs in the names of these results, in how texts of several images go into
one call, and in what it does to latents before they are decoded: :mod:`batch.render.families.table` has the rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch.nn.utils.rnn import pad_sequence

from batch.records.tasks import EncodeTask, Task
from batch.render import tiles
from batch.render.families import common

if TYPE_CHECKING:
    from batch.render.families.common import Embeds, Join, OnStep
    from batch.render.tiles import Pieces
    from batch.render.untyped import Keywords

Around = Callable[[DiffusionPipeline, Task], AbstractContextManager["Keywords"]]
"""Entered before a pipeline is called for tasks like this one; gives arguments of the call beside the others."""

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
    around: Around = lambda _pipe, _task: nullcontext({})
    decoding: Decode | None = None
    """Of latents as the call gives them; None: its latents are those that the call gives to its autoencoder."""

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
        **more: object,
    ) -> torch.Tensor:
        """``[n, ...]``, unpacked and scaled by the pipeline itself unless :attr:`decoding` does it."""
        whole = [[_with_filling(text, self.mask) for text in item] for item in texts]
        with self.around(pipe, tasks[0]) as own:
            call = partial(common.denoise, pipe, tasks, whole, device, on_step, join=self.join, **own, **more)
            return call() if self.decoding else _caught(pipe.vae, call)

    def decode(self, pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
        """An image in -1..1, in the autoencoder's dtype."""
        if self.decoding:
            return self.decoding(pipe, task, latents)
        parts = tiles.decode(pipe.vae, latents.to(pipe.vae.dtype))
        # Qwen-Image 2.1 has a fourth channel, how opaque a picture is, which is not kept.
        return replace(parts, each=(replace(part, image=part.image[:, :3]) for part in parts.each))


class _WouldDecodeError(Exception):
    """What would have been decoded."""

    def __init__(self, latents: torch.Tensor) -> None:
        super().__init__()
        self.latents = latents


def _caught(vae: ModelMixin, call: Callable[..., object]) -> torch.Tensor:
    """The latents that a call would decode."""

    def decode(latents: torch.Tensor, *_given: object, **_named: object) -> None:
        raise _WouldDecodeError(latents)

    vae.decode = decode
    try:
        call(output_type="pt")
    except _WouldDecodeError as caught:
        return caught.latents
    finally:
        del vae.decode
    raise AssertionError(f"nothing went to the {type(vae).__name__}")


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
