"""Memory steps carried out on a pipeline. ``batch.memory`` says what they mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import psutil
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import CpuOffload, remove_hook_from_module
from diffusers import AutoencoderKL, DiffusionPipeline, ModelMixin
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

from batch.base.errors import UserError
from batch.catalogue import pag
from batch.catalogue.families import DENOISERS
from batch.memory import footprint, profiles
from batch.memory.steps import ELSEWHERE, TEXTS_OFFLOADED
from batch.memory.steps import OFFLOADS as NAMES
from batch.records.tasks import Lora, Task
from batch.records.values import Call
from batch.render.cap import room

OFFLOADS = frozenset(NAMES)

Given = Mapping[str, Any]
"""A step's arguments by name, as :mod:`batch.memory.steps` has read them."""


def apply(pipe: DiffusionPipeline, steps: tuple[Call, ...], device: str) -> None:
    """Bring a pipeline from whatever setting it had to this one.

    Raises :class:`UserError` for a step that this pipeline cannot carry out.
    """
    reset(pipe)
    by_name = {step.name: dict(step.arguments) for step in steps}
    if "fp8_weights" in by_name:  # before anything moves: a card need not hold what is not cast yet
        STEPS["fp8_weights"](pipe, {}, device)
    if not has_card(device) or not offloads(steps):
        pipe.to(device)
    for name, arguments in by_name.items():
        if name != "fp8_weights" and name not in ELSEWHERE:
            STEPS[name](pipe, arguments, device)


def apply_to_texts(pipe: DiffusionPipeline, steps: tuple[Call, ...], device: str) -> None:
    """The same for a pipeline of text encoders, which was loaded into host memory where they are offloaded."""
    for step in steps:
        if step.name in OFFLOADS:
            STEPS[step.name](pipe, dict(step.arguments), device)
        elif step.name == "text_encoder_offload":
            _group_offload(pipe, {"level": "leaf", "stream": device.startswith("cuda")}, device)


def has_card(device: str) -> bool:
    """Whether there is something to save: on the CPU everything is where it would be offloaded to."""
    return device != "cpu"


def reset(pipe: DiffusionPipeline) -> None:
    """Take off whatever an earlier setting left: hooks of both libraries, tiles, slices. Nothing is moved.

    Weights cast to 8 bits stay that: a session loads the model anew (:func:`loaded_as`).
    """
    pipe.remove_all_hooks()
    for _, module in _modules(pipe):
        unhook(module)
    vae = _autoencoder(pipe)
    for name in ("disable_tiling", "disable_slicing"):
        if hasattr(vae, name):
            getattr(vae, name)()


def rest(pipe: DiffusionPipeline) -> None:
    """After a stage: components that came to the device for their turn go back."""
    pipe.maybe_free_model_hooks()  # an exception inside the call skips it
    for _, module in _modules(pipe):
        if isinstance(getattr(module, "_hf_hook", None), CpuOffload) and not pipe._all_hooks:
            module.to("cpu")


def unhook(module: nn.Module) -> None:
    """Take a module out of offloading; its weights are in host memory afterwards or where they were."""
    remove_hook_from_module(module, recurse=True)
    if hasattr(module, "_diffusers_hook") or any(hasattr(part, "_diffusers_hook") for part in module.modules()):
        registry = HookRegistry.check_if_exists_or_initialize(module)
        for name in _GROUP_HOOKS:
            registry.remove_hook(name, recurse=True)


_GROUP_HOOKS = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")
"""What diffusers calls them; it has no way of its own to take group offloading off."""


def loaded_as(steps: tuple[Call, ...], loras: tuple[Lora, ...]) -> tuple[object, ...]:
    """What of a setting lies in the loaded weights and cannot be taken back.

    A LoRA is put on before its layers are cast, so that another one needs the model anew.
    """
    found: tuple[object, ...] = tuple(step for step in steps if step.name in ("fp8_weights", "quantize"))
    return (*found, loras) if found else ()


def _modules(pipe: DiffusionPipeline) -> Iterator[tuple[str, nn.Module]]:
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            yield name, part


def _autoencoder(pipe: DiffusionPipeline) -> ModelMixin:
    """None where there is none."""
    return getattr(pipe, "vae", None)


def _vae_tiling(pipe: DiffusionPipeline, arguments: Given, _device: str) -> None:
    vae = _autoencoder(pipe)
    enable = getattr(vae, "enable_tiling", None)
    takes = inspect.signature(enable).parameters if enable is not None else {}
    if "tile_sample_stride_height" in takes:
        step = vae.spatial_compression_ratio
        if any(value % step for value in arguments.values()):
            raise UserError(
                f"memory: tile and stride are multiples of {step}, which is what a latent of {type(vae).__name__} "
                f"covers in {type(pipe).__name__}"
            )
        # All four, always: what is left out keeps its old value, and a stride of 448 under a tile of 1024
        # decodes three times the tiles.
        vae.enable_tiling(
            tile_sample_min_height=arguments["tile_height"],
            tile_sample_min_width=arguments["tile_width"],
            tile_sample_stride_height=arguments["stride_height"],
            tile_sample_stride_width=arguments["stride_width"],
        )
    elif all(hasattr(vae, name) for name in _SQUARE) and "block_out_channels" in vae.config:
        _square_tiles(vae, arguments)
    else:
        raise UserError(
            f"memory: {type(vae).__name__} of {type(pipe).__name__} cannot decode in tiles of a given size; "
            "write memory: full"
        )


_SQUARE = ("tile_sample_min_size", "tile_latent_min_size", "tile_overlap_factor")


def _square_tiles(vae: AutoencoderKL, arguments: Given) -> None:
    """AutoencoderKL has square tiles, and an overlap as a fraction from which it takes whole latents.

    Its ``enable_tiling`` takes no numbers: the tile comes from the configuration, so it is set here.
    """
    tile, stride = arguments["tile_height"], arguments["stride_height"]
    if (tile, stride) != (arguments["tile_width"], arguments["stride_width"]):
        raise UserError(
            f"memory: {type(vae).__name__} decodes in square tiles; write vae_tiling({tile}, {stride})"
        )
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // scale
    # The decoder takes whole latents and whole pixels of this fraction: as a float, 1/5 of 320 may be 63.
    vae.tile_overlap_factor = Fraction(tile - stride, tile)
    vae.enable_tiling()


def _vae_slicing(pipe: DiffusionPipeline, _arguments: Given, _device: str) -> None:
    vae = _autoencoder(pipe)
    if not hasattr(vae, "enable_slicing"):
        raise UserError(
            f"memory: {type(vae).__name__} of {type(pipe).__name__} knows no vae_slicing; leave it out"
        )
    vae.enable_slicing()


def _model_cpu_offload(pipe: DiffusionPipeline, _arguments: Given, device: str) -> None:
    if not getattr(pipe, "model_cpu_offload_seq", None):
        raise UserError(
            f"memory: {type(pipe).__name__} does not say in which order its components can be offloaded"
        )
    if has_card(device):
        pipe.enable_model_cpu_offload(device=device)


def _sequential_cpu_offload(pipe: DiffusionPipeline, _arguments: Given, device: str) -> None:
    if has_card(device):
        pipe.to("cpu")  # weights that are on the card stay there otherwise, and nothing is saved
        pipe.enable_sequential_cpu_offload(device=device)


def _group_offload(pipe: DiffusionPipeline, arguments: Given, device: str) -> None:
    """Every component in groups that fit it: the denoiser in blocks, others in layers.

    An autoencoder has no blocks that diffusers would move when it decodes. Under ``block`` it comes whole when its
    turn is, which moves its weights once for a picture and not once for every tile; under ``leaf`` layer by layer,
    without a stream, since that learns the order of the layers from a ``forward`` that decoding never calls.
    """
    if not has_card(device):
        return
    if arguments["stream"] and not device.startswith("cuda"):
        raise UserError(
            f"memory: group_offload moves ahead with a stream on CUDA only, not on {device}: write stream=false"
        )
    pipe.to("cpu")
    for name, module in _modules(pipe):
        if name in DENOISERS and arguments["level"] == "block":
            _by_blocks(module, arguments, device)
        elif module is not _autoencoder(pipe):
            _grouped(module, device, "leaf_level", stream=arguments["stream"])
        elif arguments["level"] == "leaf":
            _grouped(module, device, "leaf_level", stream=False)
        else:
            cpu_offload_with_hook(module, device)


def _by_blocks(module: nn.Module, arguments: Given, device: str) -> None:
    """Blocks in groups. What is in none (embeddings, the last layers) comes with the first call and stays.

    diffusers would move it back and forth at each call of the model, waiting for it: 0.4 GiB for SANA 1.6B.
    """
    _grouped(module, device, "block_level", stream=arguments["stream"], blocks=arguments["blocks"])
    outside = HookRegistry.check_if_exists_or_initialize(module).get_hook(_GROUP_HOOKS[0])
    if outside is not None:
        outside.group.offload_leader = None


def _grouped(module: nn.Module, device: str, level: str, *, stream: bool, blocks: int | None = None) -> None:
    weights = sum(item.nbytes for item in module.parameters())
    # Page-locked copies of all weights are made before the originals are let go; torch rounds each up to a power
    # of two, which is less than twice its size.
    crowded = stream and psutil.virtual_memory().available < 2 * weights
    apply_group_offloading(
        module,
        onload_device=device,
        offload_device="cpu",
        offload_type=level,
        num_blocks_per_group=blocks,
        use_stream=stream,
        low_cpu_mem_usage=crowded,
    )


def _fp8_weights(pipe: DiffusionPipeline, _arguments: Given, _device: str) -> None:
    found = [name for name in DENOISERS if hasattr(pipe, name)]
    if not found:
        raise UserError(f"memory: {type(pipe).__name__} has no denoiser whose weights fp8_weights could store")
    for model in (getattr(pipe, name) for name in found):
        if model is None or _is_cast(model):  # the autoencoder alone is loaded, or it was done before
            continue
        model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=model.dtype)
        if not _is_cast(model):
            raise UserError(f"memory: no layer of {type(model).__name__} can be stored in 8 bits (fp8_weights)")


def _is_cast(model: nn.Module) -> bool:
    return any(parameter.dtype == torch.float8_e4m3fn for parameter in model.parameters())


def _vae_cpu(pipe: DiffusionPipeline, _arguments: Given, _device: str) -> None:
    """Nothing to prepare: the autoencoder is moved for the decoding alone (:mod:`batch.render.loaded`)."""
    if _autoencoder(pipe) is None:
        raise UserError(f"memory: {type(pipe).__name__} has no autoencoder to run on the CPU")


STEPS: dict[str, Callable[[DiffusionPipeline, Given, str], None]] = {
    "vae_tiling": _vae_tiling,
    "vae_slicing": _vae_slicing,
    "vae_cpu": _vae_cpu,
    "model_cpu_offload": _model_cpu_offload,
    "group_offload": _group_offload,
    "sequential_cpu_offload": _sequential_cpu_offload,
    "fp8_weights": _fp8_weights,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """What the loaded components take on a device, apart from activations."""

    weights: int
    """Bytes."""
    largest: int
    """Of the largest component."""
    autoencoder: str = ""
    """Its class."""


def setting(task: Task, burden: Burden | None, device: str) -> tuple[Call, ...]:
    """A task's memory setting, with what ``auto`` adds where ``burden`` has to fit on a card."""
    if task.memory != "auto" or burden is None:
        return task.memory_steps
    # Activations are known for an image with guidance, which is two in every call.
    pixels = task.rendered_width * task.rendered_height * max(2, pag.passes(task)) // 2
    return task.memory_steps + placement(burden, pixels, device)


def placement(burden: Burden, pixels: int, device: str) -> tuple[Call, ...]:
    """What ``auto`` adds for this card: the fastest way of offloading under which weights and activations fit.

    Activations are estimated from the pixels, since a prediction would have to be computed first; what is allowed
    for beside tensors is what predictions allow for. Decides where tensors lie, never what the picture is.
    """
    there = room(device)
    work = footprint.activations(burden.autoencoder, pixels)
    if footprint.fitting(burden.weights, work) <= there:
        return ()
    names = profiles.AUTO_OFFLOADS
    by_component = footprint.fitting(burden.largest, work) <= there
    return (profiles.step(names[0] if by_component else names[1]),)


def offloads(steps: tuple[Call, ...]) -> bool:
    """Whether weights lie in host memory between their turns under a setting."""
    return not OFFLOADS.isdisjoint(step.name for step in steps)


def locks_pages(steps: tuple[Call, ...]) -> bool:
    """Whether a setting keeps weights in page-locked host memory, from which they can be copied meanwhile."""
    return any(step.name == "group_offload" and dict(step.arguments)["stream"] for step in steps)


def offloads_texts(steps: tuple[Call, ...]) -> bool:
    """Whether text encoders are loaded into host memory, of the steps that are about texts."""
    return not TEXTS_OFFLOADED.isdisjoint(step.name for step in steps)
