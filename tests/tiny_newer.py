"""Tiny pipelines of the models of 2025 and 2026, as :mod:`tests.tiny_models` has the earlier ones."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage21,
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    ModelMixin,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    PRXPipeline,
    PRXTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral3Model,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLModel,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    T5GemmaConfig,
    T5GemmaModuleConfig,
)
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

from tests import tiny_models as base

WIDTH = 16
"""Of every text encoder."""

SMALL = {
    "hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip
"""A language model."""

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]


def flow(**changes: object) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **changes})


def bytes_tokenizer(marks: list[str], template: str, **changes: object) -> PreTrainedTokenizerFast:
    """One token a byte, marks of a chat, and the template of one."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *marks]
    made = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=marks[0], eos_token=marks[0], model_max_length=4096, **changes
    )
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:]})
    tokenizer.chat_template = template
    return tokenizer


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    return bytes_tokenizer(MARKS, CHAT)


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    return bytes_tokenizer(["<pad>", "<bos>"], "")


def llama_tokenizer() -> PreTrainedTokenizerFast:
    made = bytes_tokenizer(["<|end_of_text|>", "<|begin_of_text|>"], "")
    begin = ("<|begin_of_text|>", made.convert_tokens_to_ids("<|begin_of_text|>"))
    made._tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[begin]
    )
    return made


def words_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, object]:
    return {**SMALL, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}


def flux2_vae() -> AutoencoderKLFlux2:
    made = AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), latent_channels=4, norm_num_groups=2, layers_per_block=1, sample_size=64
    )
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(4)
        made.bn.running_mean.normal_()
        made.bn.running_var.uniform_(0.5, 2.0)
    return made.eval()


def flux1_vae() -> ModelMixin:
    return base.vae(1, scaling_factor=0.36, shift_factor=0.11, use_quant_conv=False, use_post_quant_conv=False)


def sixteen_vae() -> ModelMixin:
    return base.vae(4, scaling_factor=0.36, shift_factor=0.11)


def qwen21_vae() -> AutoencoderKLQwenImage21:
    made = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 1, 2, 2, 2], num_res_blocks=1,
        latents_mean=[-0.7, 0.1, 0.4, 0.0], latents_std=[2.8, 1.4, 2.3, 1.9],
    ).eval()  # fmt: skip
    with torch.no_grad():
        made.decoder.conv_out.weight.mul_(4)
    return made


def mistral(tokenizer: PreTrainedTokenizerFast, kind: type, layers: int = 2) -> torch.nn.Module:
    eyes = {
        "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 16,
    }  # fmt: skip
    text = {"model_type": "mistral", **words_of(tokenizer), "num_hidden_layers": layers}
    return kind(Mistral3Config(text_config=text, vision_config=eyes, image_token_index=1)).eval()


def qwen3_vl(tokenizer: PreTrainedTokenizerFast, kind: type, layers: int = 2) -> torch.nn.Module:
    text = {
        **words_of(tokenizer), "num_hidden_layers": layers,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 5_000_000.0,
                            "mrope_interleaved": True},
    }  # fmt: skip
    eyes = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    return kind(Qwen3VLConfig(text_config=text, vision_config=eyes)).eval()


def qwen3_vl_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(), tokenizer=tokenizer, video_processor=Qwen3VLVideoProcessor(),
        chat_template=CHAT,
    )  # fmt: skip


def flux2_transformer(width: int, **changes: object) -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=width, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), **changes,
    ).eval()  # fmt: skip


def flux2(folder: Path) -> None:
    tokenizer = bytes_tokenizer(
        ["<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"],
        "{% for message in messages %}[INST]{% for part in message.content %}{{ part.text }}{% endfor %}[/INST]"
        "{% endfor %}",
    )
    Flux2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=mistral(tokenizer, Mistral3ForConditionalGeneration, 30),
        tokenizer=PixtralProcessor(
            image_processor=PixtralImageProcessor(), tokenizer=tokenizer, chat_template=tokenizer.chat_template
        ),
        transformer=flux2_transformer(3 * WIDTH),
    ).save_pretrained(folder)


def flux2_klein(folder: Path, *, distilled: bool = False) -> None:
    tokenizer = chat_tokenizer()
    Flux2KleinPipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=flux2_vae(),
        text_encoder=Qwen3ForCausalLM(Qwen3Config(**{**words_of(tokenizer), "num_hidden_layers": 27})).eval(),
        tokenizer=tokenizer,
        transformer=flux2_transformer(3 * WIDTH, guidance_embeds=False),
        is_distilled=distilled,
    ).save_pretrained(folder)


def flux_kontext(folder: Path) -> None:
    base.flux(folder)
    parts = FluxPipeline.from_pretrained(folder).components
    FluxKontextPipeline(**{name: part for name, part in parts.items() if part is not None}).save_pretrained(folder)


def qwen_image_21(folder: Path) -> None:
    tokenizer = chat_tokenizer()
    QwenImage21Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=qwen21_vae(),
        text_encoder=qwen3_vl(tokenizer, Qwen3VLForConditionalGeneration),
        processor=qwen3_vl_processor(tokenizer),
        transformer=QwenImage21Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
            context_in_dim=WIDTH, axes_dims_rope=(4, 6, 6),
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def krea2(folder: Path) -> None:
    tokenizer = chat_tokenizer()
    Krea2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=base.qwen_vae(),
        text_encoder=qwen3_vl(tokenizer, Qwen3VLModel),
        tokenizer=tokenizer,
        transformer=Krea2Transformer2DModel(
            in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=WIDTH, num_text_layers=2,
            text_num_attention_heads=2, text_num_key_value_heads=2, text_intermediate_size=16,
            num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 6, 6),
        ).eval(),
        text_encoder_select_layers=(1, 2),
    ).save_pretrained(folder)  # fmt: skip


def ideogram4(folder: Path) -> None:
    tokenizer = chat_tokenizer()

    def transformer() -> Ideogram4Transformer2DModel:
        return Ideogram4Transformer2DModel(
            in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, intermediate_size=32,
            adaln_dim=16, llm_features_dim=13 * WIDTH, mrope_section=(4, 2, 2),
        ).eval()  # fmt: skip

    Ideogram4Pipeline(
        scheduler=flow(shift=1.0),
        vae=flux2_vae(),
        text_encoder=qwen3_vl(tokenizer, Qwen3VLModel, 36),
        tokenizer=tokenizer,
        transformer=transformer(),
        unconditional_transformer=transformer(),
    ).save_pretrained(folder)


def ernie_image(folder: Path) -> None:
    tokenizer = bytes_tokenizer(["<pad>", "<s>"], "")
    ErnieImagePipeline(
        scheduler=flow(),
        vae=flux2_vae(),
        text_encoder=mistral(tokenizer, Mistral3Model),
        tokenizer=tokenizer,
        transformer=ErnieImageTransformer2DModel(
            hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16,
            out_channels=16, text_in_dim=WIDTH, rope_axes_dim=(4, 6, 6),
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def chroma(folder: Path) -> None:
    ChromaPipeline(
        scheduler=flow(),
        vae=flux1_vae(),
        text_encoder=base.t5(),
        tokenizer=base.t5_tokenizer(),
        transformer=ChromaTransformer2DModel(
            in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, axes_dims_rope=(4, 4, 8), approximator_num_channels=16,
            approximator_hidden_dim=16, approximator_layers=1,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def lumina2(folder: Path) -> None:
    tokenizer = gemma_tokenizer()
    Lumina2Pipeline(
        scheduler=flow(),
        vae=sixteen_vae(),
        text_encoder=Gemma2Model(Gemma2Config(**words_of(tokenizer), query_pre_attn_scalar=8)).eval(),
        tokenizer=tokenizer,
        transformer=Lumina2Transformer2DModel(
            in_channels=4, hidden_size=24, num_layers=1, num_refiner_layers=1, num_attention_heads=3,
            num_kv_heads=1, multiple_of=8, axes_dim_rope=(4, 2, 2), axes_lens=(300, 32, 32), cap_feat_dim=WIDTH,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def hidream(folder: Path) -> None:
    tokenizer = llama_tokenizer()

    def clip() -> CLIPTextModelWithProjection:
        return CLIPTextModelWithProjection(
            CLIPTextConfig(
                vocab_size=2 + 2 * len(base.CHARACTERS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=128, projection_dim=16, bos_token_id=0,
                eos_token_id=1, pad_token_id=1,
            )
        ).eval()  # fmt: skip

    HiDreamImagePipeline(
        scheduler=flow(),
        vae=sixteen_vae(),
        text_encoder=clip(),
        tokenizer=base.clip_tokenizer(),
        text_encoder_2=clip(),
        tokenizer_2=base.clip_tokenizer(),
        text_encoder_3=base.t5(),
        tokenizer_3=base.t5_tokenizer(),
        text_encoder_4=LlamaForCausalLM(LlamaConfig(**words_of(tokenizer))).eval(),
        tokenizer_4=tokenizer,
        transformer=HiDreamImageTransformer2DModel(
            patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=2, caption_channels=[16, WIDTH], text_emb_dim=32, num_routed_experts=2,
            num_activated_experts=1, axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=[0, 1],
            force_inference_output=True,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def cogview4(folder: Path) -> None:
    tokenizer = llama_tokenizer()
    CogView4Pipeline(
        scheduler=flow(use_dynamic_shifting=True, base_shift=0.25, max_shift=0.75),
        vae=sixteen_vae(),
        text_encoder=GlmModel(GlmConfig(**words_of(tokenizer))).eval(),
        tokenizer=tokenizer,
        transformer=CogView4Transformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
            text_embed_dim=WIDTH, time_embed_dim=16, condition_dim=4, pos_embed_max_size=16, sample_size=16,
            rope_axes_dim=(32, 32),
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def ovis_image(folder: Path) -> None:
    tokenizer = chat_tokenizer()
    OvisImagePipeline(
        scheduler=flow(),
        vae=flux1_vae(),
        text_encoder=Qwen3Model(Qwen3Config(**words_of(tokenizer))).eval(),
        tokenizer=tokenizer,
        transformer=OvisImageTransformer2DModel(
            in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=WIDTH, axes_dims_rope=(4, 4, 8),
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


def prx(folder: Path) -> None:
    tokenizer = bytes_tokenizer(["<pad>", "<bos>"], "")
    tokenizer.model_max_length = 64
    stack = T5GemmaModuleConfig(**words_of(tokenizer))
    PRXPipeline(
        scheduler=flow(),
        vae=sixteen_vae(),
        text_encoder=T5GemmaEncoder(T5GemmaConfig(encoder=stack, decoder=stack).encoder).eval(),
        tokenizer=tokenizer,
        transformer=PRXTransformer2DModel(
            in_channels=4, context_in_dim=WIDTH, hidden_size=16, num_heads=2, depth=1, axes_dim=[4, 4],
        ).eval(),
        default_sample_size=512,
    ).save_pretrained(folder)  # fmt: skip
    # diffusers reads the encoder's half of the configuration of both halves.
    T5GemmaConfig(encoder=stack, decoder=stack).save_pretrained(folder / "text_encoder")


def aura_flow(folder: Path) -> None:
    AuraFlowPipeline(
        scheduler=flow(),
        vae=base.vae(4, scaling_factor=0.13),
        text_encoder=base.t5(),
        tokenizer=base.t5_tokenizer(),
        transformer=AuraFlowTransformer2DModel(
            sample_size=16, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=16, caption_projection_dim=32, pos_embed_max_size=256,
        ).eval(),
    ).save_pretrained(folder)  # fmt: skip


BUILDERS = {
    "flux2": flux2, "flux2-klein": flux2_klein, "flux-kontext": flux_kontext, "qwen_image_21": qwen_image_21,
    "krea2": krea2, "ideogram4": ideogram4, "ernie_image": ernie_image, "chroma": chroma, "lumina2": lumina2,
    "hidream": hidream, "cogview4": cogview4, "ovis_image": ovis_image, "prx": prx, "aura_flow": aura_flow,
}  # fmt: skip
