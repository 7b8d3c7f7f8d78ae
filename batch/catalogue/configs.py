"""What a model's configuration files say: its pipeline, the sizes it renders, its defaults.

The files are those diffusers writes: ``model_index.json`` and one ``config.json`` a component. They come in
as a function of a path, so that a folder and a Hub repository are read the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batch.base.errors import ModelError
from batch.catalogue import modular, signatures, weights
from batch.catalogue.families import DENOISERS, FAMILIES, SIZE_STEP, family_of
from batch.catalogue.model import Model
from batch.manifest.values import Size

Config = modular.Config
Read = modular.Read

_AUTOENCODERS = ("vae", "movq", "vqgan", "vqvae")
_OTHER_MEDIA = {
    "num_frames", "video_length", "video", "num_videos_per_prompt", "num_waveforms_per_prompt", "audio_duration",
    "audio_duration_s", "duration",
}  # fmt: skip
_PICTURES = {
    "image", "images", "control_image", "mask_image", "image_embeds", "hint", "conditioning_image",
}  # fmt: skip
_PICTURE_MAY_BE_LEFT_OUT = frozenset(
    {"BriaFibo2Pipeline", "DreamLiteMobilePipeline", "DreamLitePipeline", "Flux2KleinKVPipeline"}
)
"""Pipelines that render from text alone too, beside those diffusers lists for text-to-image."""
_NOT_ALONE = re.compile(r"Control|Img2Img|Inpaint|Upscale|Edit|GLIGEN|Pix2Pix|Prior|LDM3D|Onnx|^Flax")
"""Names of pipelines that need more than a prompt, or make something else than a picture."""

_DEFAULT_SIDE = 1024

_NEEDS = {"KolorsPipeline": ("sentencepiece",), "KolorsPAGPipeline": ("sentencepiece",)}
"""Packages that a pipeline imports and that do not come with diffusers."""

MAX_BLOCKS = 16
"""Of an autoencoder: five halve the sides of the deepest there are."""


def describe(name: str, read: Read, *, trusted: bool = False) -> Model:
    """The model as its files describe it, without its place and revision.

    Raises :class:`ModelError` when it makes no pictures from text, or has code of its own and is not
    ``trusted``.
    """
    index = read(weights.INDEX)
    if index is None:
        raise ModelError(f"{name} holds no diffusers model (no model_index.json)")
    pipeline = _pipeline(name, index, trusted=trusted)
    denoiser = _first(read, index, DENOISERS)
    family = family_of(pipeline, denoiser)
    scale = _scale(_first(read, index, _AUTOENCODERS))
    scheduler = read("scheduler/scheduler_config.json") or {}
    made = Model(
        name=name,
        family=family,
        pipeline=pipeline,
        native=Size(_DEFAULT_SIDE, _DEFAULT_SIDE),
        dtype="float16" if family == "generic" and has(index, "unet") else FAMILIES[family].dtype,
        prediction=_prediction(scheduler),
        scheduler=str(scheduler.get("_class_name") or ""),
        dynamic_shift=bool(scheduler.get("use_dynamic_shifting")),
        embeds_guidance=family != "flux" or bool(denoiser.get("guidance_embeds")),
        trust_remote_code=trusted,
        needs=_NEEDS.get(pipeline, ()),
    )
    if family in {"sana", "sana_sprint"}:
        return _sana(made, denoiser)
    return _distilled(_with_defaults(_with_sizes(made, index, denoiser, scale)), index)


_DISTILLED: Mapping[str, Mapping[str, Any]] = {
    "Flux2KleinPipeline": {"steps": 4, "guidance": 0.0, "embeds_guidance": False, "negative": False},
    "Krea2Pipeline": {"steps": 8, "guidance": 0.0, "guidance_range": (0.0, 0.0), "negative": False},
}
"""What these are made for where their index says that they are distilled; the defaults of the call are not."""


def _distilled(made: Model, index: Config) -> Model:
    """A model of few steps, where its index says that it is one."""
    told = index.get("is_distilled") is True
    made = replace(made, **(_DISTILLED.get(made.pipeline, {}) if told else {}))
    sigmas = index.get("sample_sigmas")
    if isinstance(sigmas, list) and sigmas and "sample_sigmas" in signatures.pipeline_components(made.pipeline):
        return replace(made, steps=len(sigmas), fixed_steps=True, negative=False)
    return made


def in_its_family(known: Model, read: Read) -> Model:
    """A model of the catalogue, rendered as its files need it: an entry names its pipeline class, and no more."""
    if FAMILIES[known.family].embedded_guidance:
        return known
    denoiser = _first(read, read(weights.INDEX) or {}, DENOISERS)
    return replace(known, family=family_of(known.pipeline, denoiser))


_SPRINT_SAMPLE = 32
"""The one size in latents that SANA-Sprint's call has a table for."""

_SPRINT_STEPS = (1, 4)
"""What SANA-Sprint was distilled to."""


def _sana(made: Model, denoiser: Config) -> Model:
    """A SANA or SANA-Sprint, whose size and layers its transformer tells."""
    sample = int(denoiser.get("sample_size") or 32)
    side = sample * SIZE_STEP
    sized = replace(made, sample_size=sample, native=Size(side, side))
    if made.family == "sana":
        pag = (signatures.pipeline_call(made.pipeline) or {}).get("pag_scale")
        return replace(
            sized,
            blocks=int(denoiser.get("num_layers") or 0),
            qk_norm=bool(denoiser.get("qk_norm")),
            pag_scale=float(pag) if isinstance(pag, int | float) else 0.0,
        )
    if sample != _SPRINT_SAMPLE:
        raise ModelError(
            f"{made.name} is a {made.pipeline} for {side}x{side} (sample_size {sample}); "
            "diffusers knows the sizes of one for 1024x1024 only"
        )
    return _with_defaults(replace(sized, steps_range=_SPRINT_STEPS))


def _pipeline(name: str, index: Config, *, trusted: bool) -> str:
    """The class, once it is sure that it makes pictures from text."""
    pipeline = index.get("_class_name")
    if isinstance(pipeline, list) and len(pipeline) == 2:
        if not trusted:
            raise ModelError(f"{name} runs code of its own ({pipeline[0]}.py); allow it with trust_remote_code")
        return str(pipeline[1])
    pipeline = str(pipeline)
    call = signatures.pipeline_call(pipeline)
    if call is None and modular.PLACES in index:
        raise ModelError(
            f"{name} is a {pipeline}, which diffusers has in blocks ({modular.INDEX}). Of such models "
            f"{', '.join(sorted(signatures.of_blocks()))} are rendered; of others a repository that holds a "
            f"{weights.INDEX}"
        )
    if call is None:
        raise ModelError(f"{name} holds a {pipeline}, which the installed diffusers does not have")
    why = _not_text_to_image(pipeline, call)
    if why:
        raise ModelError(f"{name} holds a {pipeline}, which does not render pictures from text alone: {why}")
    return pipeline


def _not_text_to_image(pipeline: str, call: signatures.Parameters) -> str:
    other = _OTHER_MEDIA.intersection(call)
    if other:
        return f"it makes video or sound (it takes {min(other)})"
    if "prompt" not in call:
        return "it takes no prompt"
    word = _NOT_ALONE.search(pipeline)
    if word is not None:
        return f"it is made for {word[0]}"
    needed = [name for name, default in call.items() if default is signatures.REQUIRED and name != "prompt"]
    if needed:
        return f"it needs {', '.join(needed)}"
    if "width" not in call:
        return "it takes no size"
    pictures = _PICTURES.intersection(call)
    if pictures and pipeline not in signatures.text_to_image() | _PICTURE_MAY_BE_LEFT_OUT:
        return f"it needs a picture ({min(pictures)})"
    return ""


def _first(read: Read, index: Config, names: tuple[str, ...]) -> Config:
    """The configuration of the first of these components that the pipeline has."""
    name = next((name for name in names if has(index, name)), None)
    return (read(f"{name}/config.json") if name is not None else None) or {}


def has(index: Config, component: str) -> bool:
    """Whether a pipeline's index names that component, and not as left out."""
    entry = index.get(component)
    return isinstance(entry, list) and bool(entry) and entry[0] is not None


def _scale(autoencoder: Config) -> int:
    """Pixels of one latent: every block of an autoencoder but the last halves the sides."""
    for key, extra in (("block_out_channels", 1), ("encoder_block_out_channels", 1), ("temperal_downsample", 0)):
        blocks = autoencoder.get(key)
        if isinstance(blocks, list) and blocks:
            if len(blocks) > MAX_BLOCKS:
                raise ValueError(f"{key} has {len(blocks):,} blocks")
            return int(2 ** (len(blocks) - extra))
    return 8


def _prediction(scheduler: Config) -> str:
    kind, told = str(scheduler.get("_class_name", "")), scheduler.get("prediction_type")
    if kind.startswith("Flow") or scheduler.get("use_flow_sigmas") or told == "flow_prediction":
        return "flow"
    if kind == "SCMScheduler":
        return "trigflow"
    if kind.startswith("EDM"):
        return "edm"
    if isinstance(told, str):
        return told
    return "epsilon" if {"beta_start", "trained_betas"} & set(signatures.scheduler_settings(kind) or ()) else ""


def _with_sizes(made: Model, index: Config, denoiser: Config, scale: int) -> Model:
    call = signatures.pipeline_call(made.pipeline) or {}
    sample = denoiser.get("sample_size")
    own = signatures.pipeline_sample_size(made.pipeline)
    if isinstance(call.get("height"), int):
        side = call["height"]
    elif isinstance(sample, int):
        side = sample * scale
    else:
        side = own * scale if own else _DEFAULT_SIDE
    # Transformers cut latents into patches, Flux and its kin pack them two by two.
    patch, least = denoiser.get("patch_size"), 1 if made.family == "pixart" else 2
    together = 1 if has(index, "unet") else max(least, patch if isinstance(patch, int) else 0)
    step = scale * together
    side = max(step, side - side % step)
    width = call["width"] if isinstance(call.get("width"), int) else side
    return replace(
        made,
        native=Size(max(step, width - width % step), side),
        size_step=step,
        sample_size=sample if made.family == "pixart" and isinstance(sample, int) else 0,
    )


def _with_defaults(made: Model) -> Model:
    """Steps and guidance as the pipeline's call has them."""
    call = signatures.pipeline_call(made.pipeline) or {}
    steps, guidance = call.get("num_inference_steps"), call.get(FAMILIES[made.family].guidance)
    return replace(
        made,
        steps=steps if isinstance(steps, int) else 1,
        guidance=float(guidance) if isinstance(guidance, int | float) and made.embeds_guidance else 0.0,
    )
