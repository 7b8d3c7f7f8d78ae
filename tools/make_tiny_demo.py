"""Write the `demo` of the tests, ``tests/models/demo``: a real SANA pipeline, tiny, random weights.

    python tools/make_tiny_demo.py

The same seed gives the same files. Text encoder, transformer and autoencoder have SANA's architecture
(32x autoencoder, linear attention, Gemma-2), a few thousand parameters each.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from tokenizers.processors import TemplateProcessing
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

TARGET = Path(__file__).parent.parent / "tests" / "models" / "demo"
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,-'\":>()\n"


def tokenizer() -> tuple[GemmaTokenizer, int]:
    """A character-level Gemma tokenizer; bytes stand in for characters it does not know."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "▁": 5}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for character in CHARACTERS:
        vocabulary.setdefault(character, len(vocabulary))
    made = GemmaTokenizer(vocab=vocabulary, merges=[])
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return made, len(vocabulary)


def build(seed: int = 0) -> SanaPipeline:
    """The pipeline, with the 512 sizes; the other demo models change configuration values only."""
    words, count = tokenizer()
    torch.manual_seed(seed)
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=16, interpolation_scale=None,
    )  # fmt: skip
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    scales = ((), (), (), (5,), (5,), (5,))
    channels = (4, 4, 4, 4, 8, 8)
    vae = AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=blocks,
        decoder_block_types=blocks, encoder_block_out_channels=channels, decoder_block_out_channels=channels,
        encoder_qkv_multiscales=scales, decoder_qkv_multiscales=scales, encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6, downsample_block_type="conv", upsample_block_type="interpolate",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    text_encoder = Gemma2Model(
        Gemma2Config(
            vocab_size=count, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, max_position_embeddings=8192, query_pre_attn_scalar=8,
            sliding_window=4096, pad_token_id=0, eos_token_id=1, bos_token_id=2,
        )
    )  # fmt: skip
    with torch.no_grad():
        # Random weights at their initial scale give flat grey; this spreads colours over the picture.
        vae.decoder.conv_out.weight.mul_(2)
    scheduler = DPMSolverMultistepScheduler(
        flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    return SanaPipeline(words, text_encoder.eval(), vae.eval(), transformer.eval(), scheduler)


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0]).parse_args()
    shutil.rmtree(TARGET, ignore_errors=True)
    build().save_pretrained(TARGET)
    for path in sorted(TARGET.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>8}  {path.relative_to(TARGET)}")


if __name__ == "__main__":
    main()
