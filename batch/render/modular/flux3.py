"""FLUX.3 and the model distilled of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import diffusers
import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux3Transformer2DModel
from diffusers.loaders import Flux3LoraLoaderMixin
from diffusers.modular_pipelines.flux3.before_denoise import (
    Flux3DistilledTextRoPEInputsStep,
    Flux3PrepareLatentsStep,
    Flux3SetTimestepsStep,
    Flux3TextRoPEInputsStep,
)
from diffusers.modular_pipelines.flux3.decoders import Flux3DecodeStep, Flux3UnpackLatentsStep
from diffusers.modular_pipelines.flux3.denoise import Flux3DenoiseStep, Flux3DistilledDenoiseStep
from diffusers.modular_pipelines.flux3.encoders import Flux3DistilledTextEncoderStep
from diffusers.modular_pipelines.flux3.image_processor import Flux3ImageProcessor
from diffusers.modular_pipelines.flux3.inputs import Flux3DistilledTextInputStep, Flux3TextInputStep
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from transformers import ProcessorMixin, Qwen3VLForConditionalGeneration

from batch.render.modular.blocks import OfBlocks

if TYPE_CHECKING:
    from batch.render.modular.blocks import Generators, OnStepEnd
    from batch.render.untyped import Keywords


class Flux3ModularPipeline(OfBlocks, Flux3LoraLoaderMixin):
    """FLUX.3. The blocks' first one, a language model that puts a prompt into other words, is left out."""

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    vae_scale_factor = diffusers.Flux3ModularPipeline.vae_scale_factor
    num_channels_latents = diffusers.Flux3ModularPipeline.num_channels_latents
    requires_unconditional_embeds = diffusers.Flux3ModularPipeline.requires_unconditional_embeds
    _optional_components: ClassVar = ["scheduler"]

    def __init__(
        self,
        vae: AutoencoderKLFlux2,
        text_encoder: Qwen3VLForConditionalGeneration,
        tokenizer: ProcessorMixin,
        transformer: Flux3Transformer2DModel,
        scheduler: FlowMatchEulerDiscreteScheduler | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
            scheduler=scheduler or Flux3SetTimestepsStep().expected_components[0].create(),
        )
        self.image_processor = Flux3ImageProcessor()

    def encode_prompt(
        self,
        prompt: str,
        device: torch.device | str | None = None,  # noqa: ARG002 - the block reads where the text encoder is
        max_sequence_length: int = 8192,
        text_encoder_out_layers: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 28, 32),
    ) -> torch.Tensor:
        """``[1, tokens, layers * width]``: filled up to a multiple of 80 tokens, which are all seen."""
        state = self.run(
            [Flux3DistilledTextEncoderStep()],  # both models', without the negative prompt
            prompt=prompt,
            max_sequence_length=max_sequence_length,
            text_encoder_out_layers=text_encoder_out_layers,
        )
        embeds: torch.Tensor = state.get("prompt_embeds")
        return embeds

    def __call__(
        self,
        prompt: str | None = None,
        *,
        negative_prompt: str | None = None,
        width: int = 1024,
        height: int = 1024,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        sigmas: Sequence[float] | None = None,
        generator: Generators = None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: OnStepEnd | None = None,
        max_sequence_length: int = 8192,
        text_encoder_out_layers: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 28, 32),
    ) -> ImagePipelineOutput:
        """A picture of a prompt, or of its embeddings; a negative one counts where there is guidance."""
        reading: Keywords = {
            "max_sequence_length": max_sequence_length,
            "text_encoder_out_layers": text_encoder_out_layers,
        }
        if prompt is not None:
            prompt_embeds = self.encode_prompt(prompt, **reading)
        if self.guide(guidance_scale) and negative_prompt_embeds is None:
            negative_prompt_embeds = self.encode_prompt(negative_prompt or "", **reading)
        blocks = (
            Flux3TextInputStep(),
            Flux3PrepareLatentsStep(),
            Flux3SetTimestepsStep(),
            Flux3TextRoPEInputsStep(),
            Flux3DenoiseStep(),
            Flux3UnpackLatentsStep(),
            Flux3DecodeStep(),
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


class Flux3DistilledModularPipeline(Flux3ModularPipeline):
    """FLUX.3 distilled to a map from one step to the next, which takes no guidance."""

    def __call__(  # type: ignore[override]
        self,
        prompt: str | None = None,
        *,
        width: int = 1024,
        height: int = 1024,
        num_inference_steps: int = 16,
        sigmas: Sequence[float] | None = None,
        generator: Generators = None,
        prompt_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: OnStepEnd | None = None,
        max_sequence_length: int = 8192,
        text_encoder_out_layers: tuple[int, ...] = (4, 8, 12, 16, 20, 24, 28, 32),
    ) -> ImagePipelineOutput:
        """A picture of a prompt, or of its embeddings."""
        if prompt is not None:
            prompt_embeds = self.encode_prompt(
                prompt, max_sequence_length=max_sequence_length, text_encoder_out_layers=text_encoder_out_layers
            )
        blocks = (
            Flux3DistilledTextInputStep(),
            Flux3PrepareLatentsStep(),
            Flux3SetTimestepsStep(num_inference_steps=16),
            Flux3DistilledTextRoPEInputsStep(),
            Flux3DistilledDenoiseStep(),
            Flux3UnpackLatentsStep(),
            Flux3DecodeStep(),
        )
        return self.picture(
            blocks,
            callback_on_step_end,
            prompt_embeds=prompt_embeds,
            width=width,
            height=height,
            num_inference_steps=num_inference_steps,
            sigmas=sigmas,
            generator=generator,
            output_type=output_type,
        )
