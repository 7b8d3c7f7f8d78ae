"""Work that is left out of SANA's models, and of others with the same parts, without changing a bit.

What it saves is bytes moved. Not among it, though it looks so: tokens with their channels side by side from the
patch embedding on. Of what it reads in another order ``F.linear`` adds the bias in a step of its own, and rounds
once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderDC, DiffusionPipeline
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


def settle(pipe: DiffusionPipeline) -> None:
    """Leave out what a pipeline's components do for nothing; once, when it has been loaded."""
    denoiser = getattr(pipe, "transformer", None)
    # Attention across to the texts divides its output by 1: a read and a write of all tokens.
    for module in denoiser.modules() if isinstance(denoiser, nn.Module) else ():
        if not isinstance(module, Attention) or type(module.processor) is not SanaAttnProcessor2_0:
            continue
        if module.rescale_output_factor == 1.0:
            module.set_processor(_CrossAttention())
    vae = getattr(pipe, "vae", None)
    if isinstance(vae, AutoencoderDC):
        kinds: str | Sequence[str] = vae.config.decoder_block_types  # from the finest to the coarsest
        if (kinds if isinstance(kinds, str) else kinds[-1]) == "EfficientViTBlock":
            _kernels_channels_last(vae.decoder)


class _CrossAttention:
    """``SanaAttnProcessor2_0`` without its last step."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens ``[B, N, C]`` attend to texts ``[B, T, C]``; ``attention_mask`` is added, ``[B, 1, T]``."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, length = context.shape[:2]
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, length, batch)
            attention_mask = attention_mask.view(batch, attn.heads, -1, attention_mask.shape[-1])
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        query, key, value = (
            item.view(batch, -1, attn.heads, item.shape[-1] // attn.heads).transpose(1, 2)
            for item in (query, key, value)
        )
        made = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        made = made.transpose(1, 2).flatten(2).to(query.dtype)
        return attn.to_out[1](attn.to_out[0](made))


def _kernels_channels_last(decoder: nn.Module) -> None:
    """From a decoder's first attention on pictures are channels last, and kernels were turned at every call.

    Before it they are not: ``conv_in`` would then make them so, which is another way of computing.
    """
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Conv2d) and name != "conv_in":
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
