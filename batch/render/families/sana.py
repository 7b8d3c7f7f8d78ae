"""SANA: Gemma-2 text encoder, linear transformer, 32x deep-compression autoencoder.

The pipeline is called in three parts, so that texts are encoded once, an image is denoised without the
text encoder in memory, and decoding can be measured and repeated by itself. The parts together give the
same bits as one call of ``SanaPipeline``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

from batch.errors import TaskError
from batch.plan.catalogue import EXTRA_STAGE, SCHEDULERS
from batch.records import EncodeTask, ModelSource, Task

Embeds = dict[str, torch.Tensor]
"""``prompt_embeds`` [1, 300, hidden] and ``prompt_attention_mask`` [1, 300] of one text."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _dtype(name: str, component: str) -> torch.dtype:
    """float16 is right for the transformer of some checkpoints only: text encoder and autoencoder overflow."""
    if name == "float16" and component != "transformer":
        return torch.bfloat16
    return _DTYPES[name]


def _where(source: ModelSource) -> dict[str, Any]:
    if Path(source.location).is_dir():
        return {"local_files_only": True}
    return {"revision": source.revision or None, "variant": source.variant or None}


def load_text_encoder(source: ModelSource, dtype: str, device: str) -> Any:
    """The pipeline with tokenizer and text encoder only."""
    pipe = SanaPipeline.from_pretrained(
        source.location,
        transformer=None,
        vae=None,
        dtype=_dtype(dtype, "text_encoder"),
        **_where(source),
    )
    return pipe.to(device)


def load(source: ModelSource, dtype: str) -> Any:
    """The pipeline without its text encoder, in host memory."""
    components: dict[str, Any] = {}
    for name, kind in (("transformer", SanaTransformer2DModel), ("vae", AutoencoderDC)):
        components[name] = kind.from_pretrained(
            source.location,
            subfolder=name,
            dtype=_dtype(dtype, name),
            **source.overrides.get(name, {}),
            **_where(source),
        ).eval()
    pipe = SanaPipeline.from_pretrained(
        source.location, text_encoder=None, tokenizer=None, **components, **_where(source)
    )
    changed = source.overrides.get("scheduler")
    if changed:
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **changed)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def encode(pipe: Any, task: EncodeTask, device: str) -> Embeds:
    """One text as the pipeline's own call would encode it.

    That call prefixes the prompt (not the negative one) with SANA's instruction; ``encode_prompt`` alone
    leaves the instruction out, and the picture becomes another one.
    """
    call = inspect.signature(SanaPipeline.__call__).parameters
    arguments: dict[str, Any] = {
        name: call[name].default for name, stage in EXTRA_STAGE["sana"].items() if stage == "encode"
    }
    for name, value in task.arguments:
        arguments[name] = list(value) if isinstance(value, tuple) else value
    if task.negative:
        arguments["complex_human_instruction"] = None
    with torch.no_grad():
        embeds, mask, _, _ = pipe.encode_prompt(
            task.text, do_classifier_free_guidance=False, device=device, **arguments
        )
    return {"prompt_embeds": embeds, "prompt_attention_mask": mask}


def set_scheduler(pipe: Any, own: Any, task: Task) -> None:
    """The model's own scheduler, or the one the task names, with the model's settings and the overrides."""
    if task.scheduler is None:
        pipe.scheduler = own
        return
    import diffusers

    kind = getattr(diffusers, SCHEDULERS.get(task.scheduler.name, task.scheduler.name))
    known = set(inspect.signature(kind.__init__).parameters)
    changes: dict[str, Any] = dict(task.scheduler.arguments)
    unknown = sorted(set(changes) - known)
    if unknown:
        raise TaskError(f"scheduler {task.scheduler.name} has no setting {unknown[0]}", stage="denoise")
    if "shift" in known and "flow_shift" in own.config:
        changes.setdefault("shift", own.config.flow_shift)
    pipe.scheduler = kind.from_config(own.config, **changes)


def denoise(
    pipe: Any,
    task: Task,
    positive: Embeds,
    negative: Embeds | None,
    device: str,
    on_step: Callable[[int], None],
) -> torch.Tensor:
    """Latents ``[1, channels, height/32, width/32]``, float32. ``on_step`` may raise to give up."""

    def after_step(_pipe: Any, index: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1)
        return {}

    arguments: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in task.extra
        if EXTRA_STAGE["sana"].get(name) == "denoise"
    }
    arguments |= {name: tensor.to(device) for name, tensor in positive.items()}
    if negative is not None:
        arguments |= {f"negative_{name}": tensor.to(device) for name, tensor in negative.items()}
    result = pipe(
        prompt=None,
        negative_prompt=None,
        width=task.rendered_width,
        height=task.rendered_height,
        num_inference_steps=task.steps,
        guidance_scale=task.guidance,
        # Noise from the CPU: the same on every card, whatever was rendered before.
        generator=torch.Generator("cpu").manual_seed(task.seed),
        use_resolution_binning=False,
        output_type="latent",
        callback_on_step_end=after_step,
        **arguments,
    )
    latents: torch.Tensor = result.images
    return latents


def decode(pipe: Any, task: Task, latents: torch.Tensor) -> torch.Tensor:
    """An image tensor ``[1, 3, height, width]`` in -1..1, in the autoencoder's dtype."""
    with torch.no_grad():
        latents = latents.to(pipe.vae.dtype)
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
        if (task.rendered_width, task.rendered_height) != (task.width, task.height):
            image = pipe.image_processor.resize_and_crop_tensor(image, task.width, task.height)
    result: torch.Tensor = image
    return result
