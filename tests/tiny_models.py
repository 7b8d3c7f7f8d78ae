"""Tiny pipelines with random weights, written into a folder as their makers would; no network.

Each has the real classes and a few thousand parameters, so that one picture takes well under a second.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    PNDMScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPAGPipeline,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.schedulers import DPMSolverMultistepScheduler
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from tests.conftest import DEMO

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer that knows letters and digits only."""
    words = ["<|startoftext|>", "<|endoftext|>", *CHARACTERS, *(f"{letter}</w>" for letter in CHARACTERS)]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16, unk_token="<|endoftext|>")


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with T5's special tokens and one token a character."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -1.0)]
    vocabulary += [(letter, -2.0) for letter in CHARACTERS]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def clip(size: int = 16, *, projection: bool = False) -> CLIPTextModel | CLIPTextModelWithProjection:
    words = 2 + 2 * len(CHARACTERS)
    config = CLIPTextConfig(
        vocab_size=words, hidden_size=size, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=size, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    return kind(config).eval()


def t5(size: int = 16) -> T5EncoderModel:
    config = T5Config(
        vocab_size=4 + len(CHARACTERS), d_model=size, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return T5EncoderModel(config).eval()


def vae(latents: int = 4, **changes: object) -> AutoencoderKL:
    """An 8x autoencoder; its last layer is scaled up, since random weights at their initial scale give grey."""
    made = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=latents, norm_num_groups=2,
        layers_per_block=1, sample_size=64, **changes,
    )  # fmt: skip
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(4)
    return made.eval()


def unet(**changes: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(4, 8), norm_num_groups=2, layers_per_block=1, sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(2, 4), **changes,
    ).eval()  # fmt: skip


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A Qwen tokenizer with one token a byte, its marks of a chat, and the template of one."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    made = Qwen2Tokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return made


def sdxl(folder: Path) -> None:
    tokens = clip_tokenizer()
    added = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 16, "use_linear_projection": True,
    }  # fmt: skip
    StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13, force_upcast=True),
        text_encoder=clip(),
        text_encoder_2=clip(projection=True),
        tokenizer=tokens,
        tokenizer_2=tokens,
        unet=unet(cross_attention_dim=32, **added),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    ).save_pretrained(folder)


def pixart(folder: Path, kind: type[DiffusionPipeline] = PixArtSigmaPipeline) -> None:
    kind(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=vae(scaling_factor=0.13),
        transformer=PixArtTransformer2DModel(
            num_layers=1, num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8,
            cross_attention_dim=8, caption_channels=16, sample_size=32, patch_size=2,
            use_additional_conditions=False,
        ).eval(),
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear"),
    ).save_pretrained(folder)  # fmt: skip


def flux(folder: Path, *, guidance: bool = True) -> None:
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=guidance),
        vae=vae(1, scaling_factor=0.36, shift_factor=0.11, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8), guidance_embeds=guidance,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def sd1(folder: Path) -> None:
    StableDiffusionPipeline(
        vae=vae(scaling_factor=0.18),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        unet=unet(cross_attention_dim=16),
        scheduler=PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def sd3(folder: Path, *, third: bool = True) -> None:
    tokens = clip_tokenizer()
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32 if third else 40,
            pooled_projection_dim=32, out_channels=4,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip(projection=True),
        tokenizer=tokens,
        text_encoder_2=clip(projection=True),
        tokenizer_2=tokens,
        text_encoder_3=t5(32) if third else None,
        tokenizer_3=t5_tokenizer() if third else None,
    ).save_pretrained(folder)  # fmt: skip


def sd3_without_t5(folder: Path) -> None:
    sd3(folder, third=False)


def qwen_vae() -> AutoencoderKLQwenImage:
    made = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[-0.7, 0.1, 0.4, 0.0], latents_std=[2.8, 1.4, 2.3, 1.9],
    ).eval()  # fmt: skip
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(4)
    return made


def qwen_image(folder: Path, *, guidance: bool = False) -> None:
    tokens, width = qwen_tokenizer(), 16
    autoencoder = qwen_vae()
    text = {
        "hidden_size": width, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": len(tokens), "bos_token_id": None,
        "eos_token_id": None,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
    }  # fmt: skip
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width}
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=eyes)
        ).eval(),
        tokenizer=tokens,
        transformer=QwenImageTransformer2DModel(
            in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=width, axes_dims_rope=(8, 4, 4), guidance_embeds=guidance,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def z_image(folder: Path) -> None:
    tokens = qwen_tokenizer()
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(scaling_factor=0.36, shift_factor=0.11, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=2, head_dim=8,
            )
        ).eval(),
        tokenizer=tokens,
        transformer=ZImageTransformer2DModel(
            in_channels=4, dim=16, n_layers=1, n_refiner_layers=1, n_heads=1, n_kv_heads=1, cap_feat_dim=16,
            axes_dims=[8, 4, 4], axes_lens=[640, 32, 32],
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def sana(folder: Path, kind: type[DiffusionPipeline] = SanaPipeline, **changes: object) -> None:
    """The tests' demo with a transformer of its own, at SANA's 512 sizes."""
    parts = SanaPipeline.from_pretrained(DEMO).components
    parts["transformer"] = SanaTransformer2DModel.from_config(
        parts["transformer"].config, **{"num_layers": 3} | changes
    ).eval()
    kind(**parts).save_pretrained(folder)


def sana_pag(folder: Path) -> None:
    sana(folder, SanaPAGPipeline)


def sana_sprint(folder: Path) -> None:
    parts = SanaPipeline.from_pretrained(DEMO).components
    parts["scheduler"] = SCMScheduler()
    parts["transformer"] = SanaTransformer2DModel.from_config(
        parts["transformer"].config, sample_size=32, guidance_embeds=True, qk_norm="rms_norm_across_heads"
    ).eval()
    SanaSprintPipeline(**parts).save_pretrained(folder)


def pixart_alpha(folder: Path) -> None:
    pixart(folder, PixArtAlphaPipeline)


def left_out(name: str) -> dict[str, None]:
    """What a direct call of the pipeline must be told to do without."""
    return dict.fromkeys(("text_encoder_3", "tokenizer_3")) if name == "sd3-without-t5" else {}


BUILDERS = {
    "sdxl": sdxl, "pixart": pixart, "pixart-alpha": pixart_alpha, "flux": flux, "sd1": sd1, "sd3": sd3,
    "sd3-without-t5": sd3_without_t5, "qwen_image": qwen_image, "z_image": z_image,
    "sana": sana, "sana-pag": sana_pag, "sana-sprint": sana_sprint,
}  # fmt: skip


def build(name: str, folder: Path) -> Path:
    """Write the tiny pipeline of that name into a folder; the same seed gives the same files."""
    from tests import tiny_modular, tiny_newer  # they build on this module

    torch.manual_seed(0)
    {**BUILDERS, **tiny_newer.BUILDERS, **tiny_modular.BUILDERS}[name](folder)
    return folder
