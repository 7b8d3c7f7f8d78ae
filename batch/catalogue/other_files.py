"""What else lies in the folders where checkpoints lie: how its tensors tell it, and what to say of it."""

from __future__ import annotations

import re
from collections.abc import Collection

_REPOSITORY = "name its repository of the Hub, or a folder with the diffusers model"

_ANYWHERE = (
    (
        r"\.lora_(down|up|[AB])\b|^lora_(unet|te)|\.hada_w1|\.lokr_w1|\.oft_|\.dora_scale",
        "it is a LoRA; write it under lora:, and the checkpoint that it is for under model:",
    ),
    (
        r"^control_model\.|input_hint_block|controlnet_cond_embedding|^controlnet_blocks\.|(^|\.)control_layers\.",
        "it is a ControlNet, which needs a picture; it renders nothing by itself",
    ),
    (r"motion_modules\.|temporal_transformer", "it is AnimateDiff, which makes videos"),
    (
        r"(^|\.)llm_adapter\.",
        "it is Anima, which is not read from a single file here; write model: anima-base",
    ),
    (
        r"individual_token_refiner|(^|\.)head\.modulation$|patchify_proj\.weight$|(^|\.)blocks\.0\.attn\.qkv_x\."
        r"|(^|net\.|model\.)blocks\.0\.self_attn\.q_proj\.|extra_pos_embedder|\.time_(stack|mixer)\.",
        "it is a model for videos, or made of one (Wan, Hunyuan, LTX, Mochi, Cosmos, SVD …); only models for "
        "pictures are rendered",
    ),
    (
        r"(^|\.)early_stream_modulations\.image\.",
        f"it is a FLUX.3, which is not rendered from a single file here; {_REPOSITORY}",
    ),
    (
        r"^clip_txt_mapper\.|down_blocks\.1\.0\.channelwise\.",
        f"it is a part of Stable Cascade, which is made of several; {_REPOSITORY}",
    ),
    (
        r"(^|\.)blocks\.0\.cross_attn\.q_linear\.weight",
        "it is the original file of a SANA or PixArt; name its diffusers repository, such as "
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    ),
    (r"(^|\.)nerf_", "it is Chroma Radiance, which works on pixels; diffusers has no pipeline for it"),
    (r"^(image_proj|ip_adapter)\.|^adapter\.body", "it is an IP-Adapter or T2I-Adapter, which needs a picture"),
)
"""Beside a denoiser too."""

_ALONE = (
    (
        r"^(first_stage_model\.|vae\.)?(decoder|encoder)\."
        r"(conv_in|conv1|up\.|down\.|up_blocks|down_blocks|middle\.|stages\.)",
        "it is an autoencoder alone; write it under vae:, and the checkpoint under model:",
    ),
    (
        r"^(taesd_)?(en|de)coder\.(layers\.)?\d+\.|^\d\.conv\.0\.weight$",
        "it is a small decoder for previews (TAESD …), which is not read; take the whole autoencoder under vae:",
    ),
    (
        r"^(transformer\.)?(text_model|encoder\.block\.0\.layer|model\.embed_tokens|vision_model|visual"
        r"|model\.layers\.0\.(self_attn|input_layernorm)|model\.language_model)\."
        r"|^resblocks\.|^token_embedding\.weight$|^shared\.weight$",
        "it is a text encoder alone; a checkpoint holds the model that renders",
    ),
    (
        r"^(string_to_param|emb_params$|clip_[lg]$)",
        "it is an embedding (textual inversion), which is not read here",
    ),
    (
        r"^(down_blocks\.0\.resnets|single_transformer_blocks\.0\.attn)\.",
        "it is one component of a diffusers model, in the spelling of diffusers; name the folder around it, which "
        "has a model_index.json",
    ),
    (
        r"^(model\.0\.weight|conv_first\.weight|body\.0\.rdb1)",
        "it is an upscaler (ESRGAN …), which needs a picture",
    ),
)
"""Where the file has no denoiser under a prefix of its own."""


def what_else(names: Collection[str], *, alone: bool) -> str:
    """What a file is that renders no picture, and what would be right; "" where it may be a checkpoint."""
    for pattern, words in _ANYWHERE + (_ALONE if alone else ()):
        search = re.compile(pattern).search
        if any(search(name) for name in names):
            return words
    return ""
