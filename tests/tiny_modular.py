"""Tiny models that diffusers has in blocks only, saved as its modular pipelines save them."""

from __future__ import annotations

from pathlib import Path

from diffusers import (
    AnimaAutoBlocks,
    AnimaTextConditioner,
    CosmosTransformer3DModel,
    Flux3AutoBlocks,
    Flux3DistilledAutoBlocks,
    Flux3Transformer2DModel,
    SequentialPipelineBlocks,
)
from transformers import Qwen3Config, Qwen3Model, Qwen3VLForConditionalGeneration

from tests import tiny_models as base
from tests import tiny_newer as newer

WIDTH = newer.WIDTH


def saved(folder: Path, blocks: SequentialPipelineBlocks, **components: object) -> None:
    pipe = blocks.init_pipeline()
    pipe.update_components(**components)
    pipe.save_pretrained(str(folder), overwrite_modular_index=True)


def anima(folder: Path) -> None:
    tokenizer = newer.chat_tokenizer()
    saved(
        folder,
        AnimaAutoBlocks(),
        scheduler=newer.flow(),
        vae=base.qwen_vae(),
        text_encoder=Qwen3Model(Qwen3Config(**newer.words_of(tokenizer))).eval(),
        tokenizer=tokenizer,
        t5_tokenizer=base.t5_tokenizer(),
        text_conditioner=AnimaTextConditioner(
            source_dim=WIDTH, target_dim=WIDTH, model_dim=WIDTH, num_layers=1, num_attention_heads=2,
            target_vocab_size=4 + len(base.CHARACTERS), min_sequence_length=32,
        ).eval(),
        transformer=CosmosTransformer3DModel(
            in_channels=4, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2, mlp_ratio=2,
            text_embed_dim=WIDTH, adaln_lora_dim=4, max_size=(4, 64, 64), patch_size=(1, 2, 2),
            rope_scale=(1.0, 4.0, 4.0), extra_pos_embed_type=None,
        ).eval(),
    )  # fmt: skip


def flux3(folder: Path, *, distilled: bool = False) -> None:
    tokenizer = newer.chat_tokenizer()
    saved(
        folder,
        Flux3DistilledAutoBlocks() if distilled else Flux3AutoBlocks(),
        vae=newer.flux2_vae(),
        text_encoder=newer.qwen3_vl(tokenizer, Qwen3VLForConditionalGeneration, 33),
        tokenizer=newer.qwen3_vl_processor(tokenizer),
        transformer=Flux3Transformer2DModel(
            in_channels=16, cond_in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=8 * WIDTH, timestep_channels=16, mlp_ratio=1.0,
            axes_dims_rope=(4, 4, 4, 4), flow_map=distilled,
        ).eval(),
    )  # fmt: skip


def flux3_distilled(folder: Path) -> None:
    flux3(folder, distilled=True)


BUILDERS = {"anima": anima, "flux3": flux3, "flux3-distilled": flux3_distilled}
