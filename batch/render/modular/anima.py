"""Anima."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers import (
    AnimaTextConditioner,
    AutoencoderKLQwenImage,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.image_processor import VaeImageProcessor
from diffusers.loaders import AnimaLoraLoaderMixin
from diffusers.models.transformers import transformer_cosmos
from diffusers.modular_pipelines.anima.before_denoise import (
    AnimaPrepareLatentsStep,
    AnimaSetTimestepsStep,
    AnimaTextInputStep,
)
from diffusers.modular_pipelines.anima.decoders import AnimaProcessImagesOutputStep, AnimaVaeDecoderStep
from diffusers.modular_pipelines.anima.denoise import AnimaDenoiseStep
from diffusers.modular_pipelines.anima.encoders import AnimaTextEncoderStep
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from diffusers.utils import is_torchvision_available
from torch import nn
from transformers import Qwen2Tokenizer, Qwen3Model, T5Tokenizer

from batch.render.modular.blocks import OfBlocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.render.modular.blocks import Generators, OnStepEnd


def _resized(mask: torch.Tensor, size: list[int], interpolation: str) -> torch.Tensor:
    return nn.functional.interpolate(mask, size, mode=interpolation)


if not is_torchvision_available():
    # The transformer wants it to resize a mask, of zeros here, and there is none for every build of torch.
    transformer_cosmos.transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=_resized), InterpolationMode=SimpleNamespace(NEAREST="nearest")
    )


class AnimaModularPipeline(OfBlocks, AnimaLoraLoaderMixin):
    """Anima: Qwen3 reads the text, and a conditioner puts that into the words of a T5 for a Cosmos transformer."""

    model_cpu_offload_seq = "text_encoder->text_conditioner->transformer->vae"
    vae_scale_factor = diffusers.AnimaModularPipeline.vae_scale_factor
    num_channels_latents = diffusers.AnimaModularPipeline.num_channels_latents

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKLQwenImage,
        text_encoder: Qwen3Model,
        tokenizer: Qwen2Tokenizer,
        t5_tokenizer: T5Tokenizer,
        text_conditioner: AnimaTextConditioner,
        transformer: CosmosTransformer3DModel,
    ) -> None:
        super().__init__()
        self.register_modules(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            t5_tokenizer=t5_tokenizer,
            text_conditioner=text_conditioner,
            transformer=transformer,
        )
        self.image_processor = VaeImageProcessor(vae_scale_factor=8)

    @classmethod
    def load_lora_into_text_conditioner(
        cls, state_dict: Mapping[str, torch.Tensor], text_conditioner: AnimaTextConditioner | None, **given: Any
    ) -> None:
        """Nothing where that is not loaded: its half has acted when the texts were encoded."""
        if text_conditioner is not None:
            super().load_lora_into_text_conditioner(state_dict, text_conditioner, **given)

    def load_lora_into_text_encoder(
        self, state_dict: Mapping[str, torch.Tensor], *, text_encoder: nn.Module, prefix: str, **given: Any
    ) -> None:
        """What of a LoRA is for one of the two that read texts. Raises :class:`ValueError` for the encoder's."""
        own = {name: weight for name, weight in state_dict.items() if name.startswith(f"{prefix}.")}
        if own and prefix != "text_conditioner":
            raise ValueError(f"Anima takes no LoRA of its {prefix}")
        if own:
            more = {name: given[name] for name in ("adapter_name", "metadata")}
            self.load_lora_into_text_conditioner(own, text_encoder, _pipeline=self, **more)

    def encode_prompt(self, prompt: str | list[str], device: torch.device | str | None = None) -> torch.Tensor:
        """``[n, 512, width]``, behind the words zeros, which are seen: texts are cut at 512 tokens."""
        device = torch.device(device or self._execution_device)
        with torch.no_grad():
            read = AnimaTextEncoderStep.encode_prompt(
                self, prompt, prepare_unconditional_embeds=False, device=device
            )
            embeds: torch.Tensor = self.text_conditioner(
                source_hidden_states=read["qwen_prompt_embeds"].to(self.text_conditioner.dtype),
                source_attention_mask=read["qwen_attention_mask"],
                target_input_ids=read["t5_input_ids"],
                target_attention_mask=read["t5_attention_mask"],
            )
        return embeds

    def __call__(
        self,
        prompt: str | list[str] | None = None,
        *,
        negative_prompt: str | list[str] | None = None,
        width: int = 1024,
        height: int = 1024,
        num_inference_steps: int = 50,
        guidance_scale: float = 4.0,
        sigmas: Sequence[float] | None = None,
        generator: Generators = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: OnStepEnd | None = None,
    ) -> ImagePipelineOutput:
        """Pictures of prompts, or of their embeddings; a negative one counts where there is guidance."""
        if prompt is not None:
            prompt_embeds = self.encode_prompt(prompt)
        if self.guide(guidance_scale) and negative_prompt_embeds is None:
            nothing = "" if isinstance(prompt, str) else [""] * len(prompt or ())
            negative_prompt_embeds = self.encode_prompt(negative_prompt or nothing)
        blocks = (
            AnimaTextInputStep(),
            AnimaPrepareLatentsStep(),
            AnimaSetTimestepsStep(),
            AnimaDenoiseStep(),
            AnimaVaeDecoderStep(),
            AnimaProcessImagesOutputStep(),
        )
        return self.picture(
            blocks,
            callback_on_step_end,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            width=width,
            height=height,
            num_inference_steps=num_inference_steps,
            sigmas=sigmas,
            generator=generator,
            output_type=output_type,
        )
