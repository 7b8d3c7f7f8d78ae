"""Families of pipelines, and schedulers by name: what is known before a model is loaded. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from batch.records.values import Value

SIZE_STEP = 32
"""SANA's autoencoder turns 32x32 pixels into one latent."""

DTYPES = ("float32", "bfloat16", "float16")

DENOISERS = ("transformer", "unet")
"""What pipelines call the component that denoises."""

LORA_OF_TEXTS = re.compile(r"text_encoder|lora_te|te\d?_|text_model")
"""How a LoRA's weights of text encoders begin, in the spelling of diffusers, kohya or ComfyUI."""

Stage = Literal["encode", "encode-prompt", "encode-negative", "denoise", "everywhere", "pag"]
"""Where an argument of a pipeline's call acts: on both texts, on one of them, on the latents, or on all; "pag" on
the latents too, by perturbed-attention guidance (:mod:`batch.catalogue.pag`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Pipelines that are rendered the same way."""

    pipelines: tuple[str, ...] = ()
    """diffusers' classes."""
    dtype: str
    """What its checkpoints are made for."""
    extra: Mapping[str, Stage] = field(default_factory=dict)
    """What ``extra.<argument>`` may set; of a whole call the call's own signature tells."""
    staged: bool = True
    """Called in three parts (encode, denoise, decode), not whole."""
    bin_pixels: int = 0
    """Pixels of one unit of ``sample_size``, where only sizes from a table are rendered; 0: any size."""
    float16_parts: tuple[str, ...] = ()
    """With float16 these components are in it, the others in bfloat16, because they overflow; empty: all are."""
    negative: Literal["guidance", "true_cfg_scale", ""] = "guidance"
    """What must be high enough for the negative prompt to count; "" where the call decides by itself."""
    guidance: str = "guidance_scale"
    """The argument of the call that ``guidance`` sets."""
    guidance_above: float = 1.0
    """Guidance acts above this; up to it the model is called once a step, with the prompt alone."""
    empty_negative: str = ""
    """The negative text where there is guidance and no negative prompt."""
    with_guidance: frozenset[str] = frozenset()
    """Extra arguments that count only where guidance acts, beside those of the negative text."""
    reads: int = 75
    """Tokens of a prompt that every model of it reads at least; the default is CLIP's."""
    texts_vary: bool = False
    """Embeddings are as long as their text, so that compiled blocks meet new shapes all the time."""
    doubles: bool = False
    """Guidance is two images in one call of the denoiser, the one without the prompt first."""
    bands: bool = False
    """Its feed-forward can go over the latents band by band (:mod:`batch.render.cuts`)."""
    embedded_guidance: bool = True
    """It renders models that embed their guidance too; else these are ``generic``."""
    passes_shift: bool = False
    """Its call gives the scheduler a shift and noise levels of its own, so that not every scheduler will do."""

    def guides(self, guidance: float) -> bool:
        """Whether a guidance acts."""
        return guidance > self.guidance_above


FAMILIES: dict[str, Family] = {
    "sana": Family(
        pipelines=("SanaPipeline", "SanaPAGPipeline"),
        dtype="bfloat16",
        reads=297,
        bands=True,
        doubles=True,
        float16_parts=("transformer",),
        bin_pixels=SIZE_STEP,
        extra={
            "clean_caption": "encode",
            "max_sequence_length": "encode",
            "complex_human_instruction": "encode",
            "timesteps": "denoise",
            "sigmas": "denoise",
            "eta": "denoise",
            "pag_scale": "pag",
            "pag_adaptive_scale": "pag",
            "pag_applied_layers": "pag",
        },
    ),
    "sana_sprint": Family(
        pipelines=("SanaSprintPipeline",),
        dtype="bfloat16",
        reads=297,
        bands=True,
        float16_parts=("transformer",),
        bin_pixels=SIZE_STEP,
        negative="",
        extra={
            "clean_caption": "encode",
            "max_sequence_length": "encode",
            "complex_human_instruction": "encode",
            "timesteps": "denoise",
            "max_timesteps": "denoise",
            "intermediate_timesteps": "denoise",
        },
    ),
    "sdxl": Family(
        pipelines=("StableDiffusionXLPipeline",),
        dtype="float16",
        doubles=True,
        extra={
            "prompt_2": "encode-prompt",
            "clip_skip": "encode-prompt",
            "negative_prompt_2": "encode-negative",
            "timesteps": "denoise",
            "sigmas": "denoise",
            "eta": "denoise",
            "denoising_end": "denoise",
            "guidance_rescale": "denoise",
            "original_size": "denoise",
            "crops_coords_top_left": "denoise",
            "target_size": "denoise",
            "negative_original_size": "denoise",
            "negative_crops_coords_top_left": "denoise",
            "negative_target_size": "denoise",
        },
    ),
    "pixart": Family(
        pipelines=("PixArtSigmaPipeline", "PixArtAlphaPipeline"),
        dtype="float16",
        reads=117,
        doubles=True,
        bin_pixels=8,
        extra={
            "clean_caption": "encode",
            "max_sequence_length": "encode",
            "timesteps": "denoise",
            "sigmas": "denoise",
            "eta": "denoise",
        },
    ),
    "flux": Family(
        pipelines=("FluxPipeline",),
        dtype="bfloat16",
        reads=250,
        negative="true_cfg_scale",
        passes_shift=True,
        extra={
            "prompt_2": "encode-prompt",
            "negative_prompt_2": "encode-negative",
            "max_sequence_length": "encode",
            "true_cfg_scale": "denoise",
            "sigmas": "denoise",
        },
    ),
    "sd3": Family(
        pipelines=("StableDiffusion3Pipeline",),
        dtype="bfloat16",
        doubles=True,
        with_guidance=frozenset({"skip_guidance_layers"}),
        extra={
            "prompt_2": "encode-prompt",
            "prompt_3": "encode-prompt",
            "clip_skip": "encode-prompt",
            "negative_prompt_2": "encode-negative",
            "negative_prompt_3": "encode-negative",
            "max_sequence_length": "encode",
            "sigmas": "denoise",
            "mu": "denoise",
            "skip_guidance_layers": "denoise",
            "skip_layer_guidance_scale": "denoise",
            "skip_layer_guidance_start": "denoise",
            "skip_layer_guidance_stop": "denoise",
        },
    ),
    "qwen_image": Family(
        pipelines=("QwenImagePipeline",),
        dtype="bfloat16",
        reads=500,
        guidance="true_cfg_scale",
        empty_negative=" ",
        texts_vary=True,
        embedded_guidance=False,  # theirs is another argument of the call
        passes_shift=True,
        # The call cuts embeddings to this length once more.
        extra={"max_sequence_length": "everywhere", "sigmas": "denoise"},
    ),
    "z_image": Family(
        pipelines=("ZImagePipeline",),
        dtype="bfloat16",
        reads=450,
        guidance_above=0.0,
        texts_vary=True,
        with_guidance=frozenset({"cfg_normalization", "cfg_truncation"}),
        passes_shift=True,
        extra={
            "max_sequence_length": "encode",
            "sigmas": "denoise",
            "cfg_normalization": "denoise",
            "cfg_truncation": "denoise",
        },
    ),
    "generic": Family(dtype="bfloat16", staged=False, negative=""),
}
"""Every family; ``render/families/`` has a file for each, and ``generic`` renders all other pipelines."""

CLIP_PIPELINES = frozenset({"StableDiffusionPipeline", "StableDiffusionXLPipeline"})
"""Pipelines all of whose text encoders are CLIP: they take texts in pieces and with weights
(:mod:`batch.render.pieces`)."""

PIPELINE_FAMILY = {pipeline: name for name, family in FAMILIES.items() for pipeline in family.pipelines}
"""The family that a pipeline class of diffusers belongs to; :func:`family_of` says which one renders a model."""


def family_of(pipeline: str, denoiser: Mapping[str, object]) -> str:
    """The family that renders a model: by its pipeline class, and the configuration of its denoiser."""
    family = PIPELINE_FAMILY.get(pipeline, "generic")
    if denoiser.get("guidance_embeds") and not FAMILIES[family].embedded_guidance:
        return "generic"
    return family


SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler",
    "dpm++-sde": "DPMSolverMultistepScheduler",
    "dpm++-2s": "DPMSolverSinglestepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "sa-solver": "SASolverScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "flow-heun": "FlowMatchHeunDiscreteScheduler",
    "flow-lcm": "FlowMatchLCMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm2-a": "KDPM2AncestralDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "pndm": "PNDMScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
    "scm": "SCMScheduler",
}
"""Schedulers by the name a manifest uses and diffusers' class; a class's own name does as well."""

OWN_SCHEDULER = "default"
"""What a manifest calls the model's own; a :class:`Call` only where it has overrides."""

SCHEDULER_PRESETS: dict[str, dict[str, Value]] = {
    "dpm++-sde": {"algorithm_type": "sde-dpmsolver++"},
    # The configuration of a DPM-Solver names an algorithm that this one does not have.
    "sa-solver": {"algorithm_type": "data_prediction"},
}
"""What a name sets beyond its class."""


def digest(parts: object) -> str:
    """A short hash of plain values, the same in every process."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
