"""What the families share: the arguments of a pipeline's call, the call, and what becomes of its latents."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from diffusers import DiffusionPipeline

from batch.base.errors import TaskError
from batch.catalogue.families import FAMILIES, PIPELINE_FAMILY
from batch.records.kinds import Stage
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Arguments, Value
from batch.render import schedulers, tiles
from batch.render.untyped import Keywords

if TYPE_CHECKING:
    from batch.render.tiles import Pieces

Embeds = dict[str, torch.Tensor]
"""What the call takes for one text, by the argument's name without ``negative_``."""

Join = Callable[[DiffusionPipeline, Sequence[Embeds], str], Keywords]
"""The embeddings of one text per image as the pipeline's call takes them, on a device."""

Parameters = Mapping[str, inspect.Parameter]
"""Those of a pipeline's call, by name."""

OnStep = Callable[[int], None]
"""Told the number of the step that is done; may raise to give up."""


def text_arguments(pipe: DiffusionPipeline, task: EncodeTask, family: str) -> Keywords:
    """The arguments of ``encode_prompt`` as the pipeline's own call would set them.

    ``encode_prompt`` has defaults of its own, and some differ from the call's.
    """
    call = inspect.signature(type(pipe).__call__).parameters
    stages = ("encode", "everywhere", "encode-negative" if task.negative else "encode-prompt")
    names = [name for name, stage in FAMILIES[family].extra.items() if stage in stages and name in call]
    return {name: call[name].default for name in names} | plain(task.arguments, call)


def plain(arguments: Arguments, call: Parameters) -> Keywords:
    """Frozen arguments as the call wants them: lists, or tuples where its annotation says so."""
    return {name: _thawed(value, call.get(name)) for name, value in arguments}


def _thawed(value: Value, parameter: inspect.Parameter | None) -> object:
    if not isinstance(value, tuple):
        return value
    items = [_thawed(item, None) for item in value]
    is_tuple = parameter is not None and _TUPLE.match(str(parameter.annotation))
    return tuple(items) if is_tuple else items


_TUPLE = re.compile(r"(typing\.)?(Optional\[)?(typing\.)?[Tt]uple\b")


def call_arguments(
    pipe: DiffusionPipeline,
    task: Task,
    extra: Arguments,
    on_step: OnStep,
    *,
    seeds: Sequence[int] = (),
    guidance: str = "guidance_scale",
) -> Keywords:
    """What every call gets: size, steps, guidance, noise, progress, and the extra arguments given.

    ``seeds`` are those of a batch, of which ``task`` is the first; ``guidance`` names the argument it goes to.
    """
    call = inspect.signature(type(pipe).__call__).parameters
    # One generator for each image, on the CPU: the same noise on every card and in every batch.
    noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds or (task.seed,)]
    arguments: Keywords = {
        "width": task.rendered_width,
        "height": task.rendered_height,
        "num_inference_steps": task.steps,
        guidance: task.guidance,
        "generator": noise if len(noise) > 1 else noise[0],
        # Sizes are chosen when planning, never silently resampled.
        "use_resolution_binning": False,
        "max_area": task.rendered_width * task.rendered_height,
    }
    if guidance in call and call[guidance].default is None and not task.guidance:
        del arguments[guidance]
    # Of a class of diffusers' own the plan has seen to it; of code of the model's own only the call tells.
    for name, asked in ((guidance, bool(task.guidance)), ("num_inference_steps", task.steps > 1)):
        if asked and name not in call and not type(pipe).__module__.startswith(("diffusers.", "batch.")):
            axis, none = ("guidance", "0") if "guidance" in name else ("steps", "1")
            raise TaskError(f"{type(pipe).__name__} takes no {name}; write {axis}: {none}", stage=Stage.RENDER)
    arguments = {name: value for name, value in arguments.items() if name in call}
    return arguments | _progress(call, pipe, task.steps, on_step) | plain(extra, call)


def _progress(call: Parameters, pipe: DiffusionPipeline, steps: int, on_step: OnStep) -> Keywords:
    """The callback in the form the call takes; none where it takes none."""

    def done(index: int) -> None:
        # Second-order schedulers go through two timesteps a step.
        on_step(min(steps, index // getattr(pipe.scheduler, "order", 1) + 1))

    def after_step(_pipe: DiffusionPipeline, index: int, _timestep: object, _tensors: object) -> Keywords:
        done(index)
        return {}

    if "callback_on_step_end" in call:
        return {"callback_on_step_end": after_step}
    if "callback" in call:
        # The older form counts steps itself.
        return {"callback": lambda step, _timestep, _latents: on_step(min(steps, int(step) + 1))}
    return {}


def join(_pipe: DiffusionPipeline, texts: Sequence[Embeds], device: str) -> Embeds:
    """Embeddings of several texts one below the other: all of them have the same length."""
    axes = {"prompt_embeds_llama3": 1}  # HiDream's, whose layers come before the images
    return {name: torch.cat([item[name] for item in texts], axes.get(name, 0)).to(device) for name in texts[0]}


def denoise(
    pipe: DiffusionPipeline,
    tasks: Sequence[Task],
    texts: Sequence[Sequence[Embeds]],
    device: str,
    on_step: OnStep,
    *,
    join: Join = join,
    **more: object,
) -> torch.Tensor:
    """Latents as the pipeline's own call gives them with ``output_type="latent"``.

    ``tasks`` differ in texts and seed only; ``texts`` holds for each the embeddings of its prompt, and of its
    negative prompt where there is guidance; ``join`` puts those of all tasks together. ``[n, channels, height,
    width]`` in latents, float32 in SANA and Z-Image; packed in Flux and Qwen-Image, ``[n, height/16 * width/16,
    64]``. ``more`` are arguments of the call beside those of every family, or in their place.
    """
    task, family = tasks[0], FAMILIES[PIPELINE_FAMILY[type(pipe).__name__]]
    call = inspect.signature(type(pipe).__call__).parameters
    extra = tuple(item for item in task.extra if family.extra.get(item[0]) in ("denoise", "everywhere"))
    embeds: Keywords = {}
    for index, prefix in enumerate(("", "negative_")[: len(texts[0])]):
        joined = join(pipe, [item[index] for item in texts], device)
        embeds |= {prefix + name: value for name, value in joined.items()}
    seeds = [item.seed for item in tasks]
    arguments: Keywords = {"prompt": None, "output_type": "latent"}
    arguments |= call_arguments(pipe, task, extra, on_step, seeds=seeds, guidance=family.guidance)
    if "negative_prompt" in call:
        arguments["negative_prompt"] = None  # by default a text in some
    with schedulers.drawing(pipe.scheduler, arguments["generator"]):
        result = pipe(**arguments | embeds | more)
    latents: torch.Tensor = result.images
    return latents


def decode(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """The picture of latents as they are kept: unpacked where they are, and scaled as their autoencoder says."""
    vae, config = pipe.vae, pipe.vae.config
    if latents.ndim == 3:
        size = (task.rendered_height, task.rendered_width)
        latents = pipe._unpack_latents(latents, *size, pipe.vae_scale_factor)
    latents = latents.to(vae.dtype)
    if config.get("scaling_factor"):
        latents = latents / config.scaling_factor
        return tiles.decode(vae, latents + config.shift_factor if config.get("shift_factor") else latents)
    mean, std = (
        torch.tensor(item).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
        for item in (config.latents_mean, config.latents_std)
    )
    # Divided by the reciprocal, as the pipeline does: multiplying rounds otherwise.
    return tiles.decode(vae, latents / (1.0 / std) + mean)


def decode_resized(pipe: DiffusionPipeline, task: Task, latents: torch.Tensor) -> Pieces:
    """As SANA and PixArt do it: resampled to the task's size where that is not the one rendered."""
    parts = decode(pipe, task, latents)
    if (task.rendered_width, task.rendered_height) == (task.width, task.height):
        return parts
    image: torch.Tensor = pipe.image_processor.resize_and_crop_tensor(parts.whole(), task.width, task.height)
    return tiles.of(image)
