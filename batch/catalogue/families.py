"""The families of pipelines: what is known of each before a model is loaded. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from batch.catalogue.family import Family

SIZE_STEP = 32
"""SANA's autoencoder turns 32x32 pixels into one latent."""

DTYPES = ("float32", "bfloat16", "float16")

DENOISERS = ("transformer", "unet")
"""What pipelines call the component that denoises."""

LORA_OF_TEXTS = re.compile(r"text_encoder|text_conditioner|diffusion_model\.llm_adapter|lora_te|te\d?_|text_model")
"""How a LoRA's weights of text encoders begin, in the spelling of diffusers, kohya or ComfyUI."""

_LENGTHS = "its texts are of many lengths, and what would fill the shorter ones up changes the picture"

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
        pipelines=("FluxPipeline", "FluxKontextPipeline"),
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
    "flux2": Family(
        pipelines=("Flux2Pipeline",),
        needs=("torchvision",),
        dtype="bfloat16",
        reads=400,
        negative="",
        passes_shift=True,
        extra={"max_sequence_length": "encode", "text_encoder_out_layers": "encode", "sigmas": "denoise"},
    ),
    "flux2_klein": Family(
        pipelines=("Flux2KleinPipeline",),
        dtype="bfloat16",
        reads=490,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "text_encoder_out_layers": "encode", "sigmas": "denoise"},
    ),
    "qwen_image_21": Family(
        pipelines=("QwenImage21Pipeline",),
        needs=("torchvision",),
        dtype="bfloat16",
        reads=4000,
        guidance="true_cfg_scale",
        empty_negative=" ",
        texts_vary=True,
        alone=_LENGTHS,
        passes_shift=True,
        extra={"sigmas": "denoise", "use_kv_cache": "denoise"},
    ),
    "krea2": Family(
        pipelines=("Krea2Pipeline",),
        dtype="bfloat16",
        reads=500,
        guidance_above=0.0,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "sigmas": "denoise"},
    ),
    "ideogram4": Family(
        pipelines=("Ideogram4Pipeline",),
        dtype="bfloat16",
        reads=2000,
        negative="",
        passes_shift=True,
        extra={
            "guidance_schedule": "denoise",
            "mu": "denoise",
            "std": "denoise",
            "max_sequence_length": "everywhere",
        },
    ),
    "ernie_image": Family(
        pipelines=("ErnieImagePipeline",),
        dtype="bfloat16",
        reads=1000,
        texts_vary=True,
        doubles=True,
        passes_shift=True,
    ),
    "chroma": Family(
        pipelines=("ChromaPipeline",),
        dtype="bfloat16",
        reads=500,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "sigmas": "denoise"},
    ),
    "lumina2": Family(
        pipelines=("Lumina2Pipeline",),
        dtype="bfloat16",
        reads=200,
        passes_shift=True,
        with_guidance=frozenset({"cfg_trunc_ratio", "cfg_normalization"}),
        extra={
            "system_prompt": "encode-prompt",
            "max_sequence_length": "encode",
            "sigmas": "denoise",
            "cfg_trunc_ratio": "denoise",
            "cfg_normalization": "denoise",
        },
    ),
    "hidream": Family(
        pipelines=("HiDreamImagePipeline",),
        dtype="bfloat16",
        reads=120,
        passes_shift=True,
        extra={
            **{f"prompt_{number}": "encode-prompt" for number in (2, 3, 4)},
            **{f"negative_prompt_{number}": "encode-negative" for number in (2, 3, 4)},
            "max_sequence_length": "encode",
            "sigmas": "denoise",
        },
    ),
    "cogview4": Family(
        pipelines=("CogView4Pipeline",),
        dtype="bfloat16",
        reads=1000,
        texts_vary=True,
        alone=_LENGTHS,
        passes_shift=True,
        extra={
            "max_sequence_length": "encode",
            "timesteps": "denoise",
            "sigmas": "denoise",
            "original_size": "denoise",
            "crops_coords_top_left": "denoise",
        },
    ),
    "ovis_image": Family(
        pipelines=("OvisImagePipeline",),
        dtype="bfloat16",
        reads=250,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "sigmas": "denoise"},
    ),
    "prx": Family(
        pipelines=("PRXPipeline",),
        needs=("ftfy",),
        dtype="bfloat16",
        reads=250,
        doubles=True,
        alone="its call has room for the timesteps of one image",
        least_guidance=1.0,
        extra={"tokenizer_max_length": "encode", "skip_text_cleaning": "encode", "timesteps": "denoise"},
    ),
    "anima": Family(
        pipelines=("AnimaModularPipeline",),
        dtype="bfloat16",
        reads=500,
        passes_shift=True,
        extra={"sigmas": "denoise"},
    ),
    "flux3": Family(
        pipelines=("Flux3ModularPipeline",),
        dtype="bfloat16",
        needs=("torchvision",),
        reads=4000,
        texts_vary=True,
        alone=_LENGTHS,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "text_encoder_out_layers": "encode", "sigmas": "denoise"},
    ),
    "flux3_distilled": Family(
        pipelines=("Flux3DistilledModularPipeline",),
        dtype="bfloat16",
        needs=("torchvision",),
        reads=4000,
        negative="",
        texts_vary=True,
        alone=_LENGTHS,
        passes_shift=True,
        extra={"max_sequence_length": "encode", "text_encoder_out_layers": "encode", "sigmas": "denoise"},
    ),
    "aura_flow": Family(
        pipelines=("AuraFlowPipeline",),
        dtype="float16",
        reads=250,
        doubles=True,
        extra={"max_sequence_length": "encode", "sigmas": "denoise"},
    ),
    "generic": Family(dtype="bfloat16", staged=False, negative=""),
}
"""Every family. ``render/families/table.py`` says how each is staged; ``generic`` renders all other pipelines."""

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


def digest(parts: object) -> str:
    """A short hash of plain values, the same in every process."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
