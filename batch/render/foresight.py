"""What the stages of a model take in memory, without its weights and without a card.

The real pipeline is built from its configuration with tensors that have shapes and no numbers
(:mod:`batch.render.live`), and goes through the same code that renders: the family's encode, denoise and decode,
and our own tiles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from accelerate import init_empty_weights
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.models.autoencoders.vae import AutoencoderMixin
from torch import nn

from batch.memory.footprint import Component, StageWork
from batch.plan.texts import encode_tasks
from batch.records.kinds import Stage
from batch.records.reading import from_json
from batch.records.receipts import TextTokens
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.render import (
    counting,
    cuts,
    exact,
    failures,
    memory,
    pag,
    pipelines,
    positions,
    random_weights,
    repeats,
)
from batch.render.families.table import FAMILIES
from batch.render.live import Live, Shapes, once, tensors

if TYPE_CHECKING:
    from batch.memory.questions import Question, TextsQuestion
    from batch.render.families.common import Embeds
    from batch.render.places import LeaveOut
    from batch.render.tiles import Pieces

DEVICE = "cpu"
"""Where the tensors say they are: see :class:`batch.render.live.Shapes`."""


class Foresight:
    """One model in one dtype. Raises whatever its modules raise where they cannot go without numbers."""

    def __init__(self, source: ModelSource, dtype: str) -> None:
        self._source, self._dtype = source, dtype
        self._family = FAMILIES[source.family]
        self._shapes = Shapes()
        self._embeds: dict[EncodeTask, tuple[Embeds, StageWork]] = {}
        self._latents: dict[Task, torch.Tensor] = {}

    def encoding(self, task: Task) -> tuple[dict[str, Component], StageWork]:
        """The text encoders, and what the larger of a task's texts takes."""
        works = [work for _, work in self._texts(task)]
        return self._read_by, max(works, key=lambda work: work.activations)

    def denoising(self, task: Task, batch: int = 1) -> tuple[dict[str, Component], StageWork]:
        """The components that render, and what denoising so many images of a task in one call takes."""
        pipe = self._renderers
        embeds = [made for made, _ in self._texts(task)]
        with self._shapes.everywhere():  # computed once for a size, before the first step: not part of any
            positions.put(pipe, task, DEVICE)
        blocks = [block for module in _modules(pipe).values() for block in _blocks(module)]
        cutting = cuts.cut(pipe, task.memory_steps, [task] * batch)
        for experts in (part for block in blocks for part in block.modules() if hasattr(part, "moe_infer")):
            experts.__dict__["moe_infer"] = partial(_evenly, experts)
        with _watched(pipe) as watched, cutting, repeats.once(blocks, watched.live):
            latents = self._family.denoise(pipe, [task] * batch, [embeds] * batch, DEVICE, lambda _step: None)
        self._latents[_untiled(task)] = latents[:1]
        return self._rendered_by, watched.work

    def decoding(self, task: Task) -> StageWork:
        """What decoding takes in the tiles of the task's setting; with ``vae_cpu`` the weights in float32 too."""
        if _untiled(task) not in self._latents:
            self.denoising(task)
        steps = {step.name: step.arguments for step in task.memory_steps}
        pipe = self._load(pipelines.is_beside_decoder) if "vae_cpu" in steps else self._renderers
        if hasattr(pipe.vae, "disable_tiling"):
            pipe.vae.disable_tiling()
        if "vae_tiling" in steps:
            memory.STEPS["vae_tiling"](pipe, dict(steps["vae_tiling"]), DEVICE)
        if "vae_cpu" in steps:
            pipe.vae.to(torch.float32)
        with _watched(pipe, 0 if "vae_cpu" in steps else None) as watched, once(pipe.vae.decoder, watched.live):
            _taken(self._family.decode(pipe, task, self._latents[_untiled(task)]))
        return watched.work

    def cut(self, task: Task, question: TextsQuestion) -> dict[str, TextTokens]:
        """How much is read of the texts of a question that are not read to the end, by their numbers."""
        negative = question["negative"]
        tasks = (
            replace(task, prompt="" if negative else text, negative_prompt=text if negative else "")
            for text in question["texts"]
        )
        asked = [encode_tasks(item, self._source.family, "cuda")[negative] for item in tasks]
        with _watched(self._encoders):
            return counting.cut(self._encoders, self._source.family, asked)

    def _texts(self, task: Task) -> list[tuple[Embeds, StageWork]]:
        """The embeddings of a task's texts without their numbers."""
        texts = encode_tasks(task, self._source.family, "cuda")
        for text in texts:
            if text not in self._embeds:
                with _watched(self._encoders) as watched, repeats.once(self._layers, watched.live):
                    embeds = self._family.encode(self._encoders, text, DEVICE)
                self._embeds[text] = (embeds, watched.work)
        return [self._embeds[text] for text in texts]

    @cached_property
    def _encoders(self) -> DiffusionPipeline:
        return self._load(pipelines.is_picture)

    @cached_property
    def _layers(self) -> list[nn.Module]:
        """Of the text encoders."""
        parts = [part for module in _modules(self._encoders).values() for part in module.modules()]
        return [layer for part in parts if isinstance(part, nn.ModuleList) for layer in part]

    @cached_property
    def _read_by(self) -> dict[str, Component]:
        return _components(self._encoders)

    @cached_property
    def _renderers(self) -> DiffusionPipeline:
        return self._load(pipelines.is_text)

    @cached_property
    def _rendered_by(self) -> dict[str, Component]:
        return _components(self._renderers)

    def _load(self, leave_out: LeaveOut) -> DiffusionPipeline:
        dtype = partial(pipelines.own_dtype, self._source.family, self._dtype)
        pipe = pag.settle(random_weights.build(self._source, dtype, DEVICE, leave_out, self._shapes.fill))
        exact.settle(pipe)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def _evenly(layer: Any, tokens: torch.Tensor, chosen: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """HiDream's experts with as many tokens each: which of them go where, only numbers tell."""
    made = torch.zeros_like(tokens)
    order = chosen.argsort()
    whose = order // layer.num_activated_experts
    each = -(-len(order) // len(layer.experts))
    for index, expert in enumerate(layer.experts):
        mine = whose[index * each : (index + 1) * each]
        out = expert(tokens[mine])
        out.mul_(shares[order[index * each : (index + 1) * each]])
        made.scatter_reduce_(0, mine.view(-1, 1).repeat(1, tokens.shape[-1]), out, reduce="sum")
    return made


def _untiled(task: Task) -> Task:
    return replace(task, memory_steps=())


class _Watched:
    """A stage that is being watched."""

    def __init__(self, pipe: DiffusionPipeline, counted: int) -> None:
        self.live = Live(tensors(*_modules(pipe).values()))
        self._counted = counted

    @property
    def work(self) -> StageWork:
        return StageWork(activations=self.live.peak - self._counted, largest=self.live.largest)


@contextmanager
def _watched(pipe: DiffusionPipeline, counted: int | None = None) -> Iterator[_Watched]:
    """Watch what a pipeline does; what is ``counted`` elsewhere, by default its weights, is no activation."""
    if counted is None:
        counted = sum(item.nbytes for item in tensors(*_modules(pipe).values()))
    watched = _Watched(pipe, counted)
    with torch.no_grad(), watched.live:
        yield watched


def _modules(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def _components(pipe: DiffusionPipeline) -> dict[str, Component]:
    return {name: _component(module) for name, module in _modules(pipe).items()}


def _component(module: nn.Module) -> Component:
    buffers = sum(item.nbytes for item in module.buffers())
    leaves = (sum(item.nbytes for item in part.parameters(recurse=False)) for part in module.modules())
    weights = buffers + sum(item.nbytes for item in module.parameters())
    blocks = [sum(item.nbytes for item in tensors(block)) for block in _blocks(module)]
    return Component(
        weights=weights,
        buffers=buffers,
        leaf=max(leaves),
        block=max(blocks, default=0),
        outside=weights - sum(blocks) if blocks else 0,
        linear=sum(part.weight.nbytes for part in module.modules() if isinstance(part, nn.Linear)),
        fp8=_in_fp8(module),
        # Page-locked, each takes the next power of two (torch, ATen/core/CachingHostAllocator.h).
        locked=sum(1 << max(0, item.nbytes - 1).bit_length() for item in tensors(module)),
    )


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """What diffusers moves in groups of ``block_level``, of a denoiser."""
    if not is_denoiser(module):
        return
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.Sequential):
            yield from child


def is_denoiser(module: nn.Module) -> TypeGuard[ModelMixin]:
    """Whether a component is what diffusers can store in 8 bits and move in blocks: all but autoencoders here."""
    return isinstance(module, ModelMixin) and not isinstance(module, AutoencoderMixin)


def _in_fp8(module: nn.Module) -> int:
    """Bytes of a denoiser as diffusers casts it, asked of a copy that has no numbers."""
    if not is_denoiser(module):
        return 0
    with init_empty_weights(include_buffers=True):
        copy = type(module).from_config(module.config)
    copy.to(dtype=next(item.dtype for item in module.parameters()))
    copy.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=copy.dtype)
    parameters = sum(item.nbytes for item in copy.parameters())
    return parameters + sum(item.nbytes for item in module.buffers())


def _taken(parts: Pieces) -> None:
    """As :func:`batch.render.pixels.assemble` takes a picture on a card: a row of its parts waits as bytes."""
    row = None
    for part in parts.each:
        if part.left == 0:
            row = part.image.new_empty((part.image.shape[2], parts.width, 3), dtype=torch.uint8)
        del part
    del row


def answer(foresight: Foresight, question: Question | TextsQuestion) -> dict[str, object]:
    """One stage: what it takes, and the components that are there; of texts those that are cut."""
    task = from_json(Task, json.dumps(question["task"]))
    if "texts" in question:
        return _cut(foresight.cut(task, question))
    stage = question["stage"]
    if stage == Stage.DECODE:
        return {"work": asdict(foresight.decoding(task))}
    if stage == Stage.ENCODE:
        components, work = foresight.encoding(task)
    else:
        components, work = foresight.denoising(task, question["batch"])
    found = {name: asdict(item) for name, item in components.items()}
    return {"work": asdict(work), "components": found}


def _cut(found: Mapping[str, TextTokens]) -> dict[str, object]:
    return {"cut": {number: asdict(item) for number, item in found.items()}}


def answers(questions: Iterable[Question | TextsQuestion]) -> Iterator[dict[str, object]]:
    """Every question's answer under its key, or ``why`` there is none and whether that may be ``passing``."""
    known: tuple[object, Foresight] | None = None
    for question in questions:
        dtype = str(question["task"]["dtype"])
        place = (question["source"], dtype)
        try:
            source = from_json(ModelSource, json.dumps(question["source"]))
            if "texts" in question and source.family not in FAMILIES:
                task = from_json(Task, json.dumps(question["task"]))
                said = _cut(counting.cut_by_clip(source, task, question["texts"]))
            else:
                if known is None or known[0] != place:
                    known = (place, Foresight(source, dtype))
                said = answer(known[1], question)
        except Exception as error:  # noqa: BLE001 - a module that cannot go without numbers: that is the answer
            known = None  # it may be left half-way
            said = {"why": f"{type(error).__name__}: {failures.first_line(error)}"}
            said["passing"] = isinstance(error, OSError | MemoryError)
        yield {"key": question["key"], **said}
