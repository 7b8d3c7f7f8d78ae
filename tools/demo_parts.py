"""The demo model's parts before training: SANA's architecture at a size that a CPU can teach.

A 32x autoencoder, a transformer with linear attention and a Gemma-2 text encoder with a tokenizer of its own.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import islice

import torch
from demo_world import caption, scenes
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from tokenizers import Tokenizer, models, normalizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import Gemma2Config, Gemma2Model, GemmaTokenizer

LATENTS = 16
WIDTH = 128
BLOCKS = 8
TEXT_WIDTH = 128
TEXT_LAYERS = 2
WINDOW = 16
"""Tokens that a layer of the text encoder looks back, itself included."""
SHIFT = 3.0
"""Of the flow's noise levels, at the 512 sizes."""
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,-'\":>()\n"


@cache
def tokenizer() -> tuple[GemmaTokenizer, int]:
    """A Gemma tokenizer whose pieces are learned from the world's captions, and the number of its pieces.

    Words of the world are one piece each; others fall into characters, unknown characters into bytes.
    """
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    learner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    learner.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=specials, initial_alphabet=[*CHARACTERS, "▁"], show_progress=False
    )
    words = {word for scene in islice(scenes(0), 5000) for word in caption(scene).replace(",", "").split()}
    learner.train_from_iterator((f" {word}" for word in sorted(words) for _ in range(10)), trainer)
    learned = learner.get_vocab()
    vocabulary = {piece: number for number, piece in enumerate(sorted(learned, key=learned.__getitem__))}
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    made = GemmaTokenizer(vocab=vocabulary, merges=merges)
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return made, len(vocabulary)


def text_encoder(pieces: int) -> Gemma2Model:
    """Every layer looks back over a window only, so that what stands before a prompt hardly matters to it."""
    return Gemma2Model(
        Gemma2Config(
            vocab_size=pieces, hidden_size=TEXT_WIDTH, intermediate_size=256, num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=8192,
            query_pre_attn_scalar=32, sliding_window=WINDOW, layer_types=["sliding_attention"] * TEXT_LAYERS,
            pad_token_id=0, eos_token_id=1, bos_token_id=2, attn_implementation="eager",
        )
    )  # fmt: skip


def autoencoder(*, shortcuts: bool = False) -> AutoencoderDC:
    """32x, 16 channels. The encoder sees its surroundings only; in the decoder, cells also see one another.

    ``shortcuts`` lead around the convolutions at the latents, as in DC-AE; :func:`settle` takes them into these.
    """
    channels = (8, 16, 32, 64, 128, 128)
    return AutoencoderDC(
        in_channels=3, latent_channels=LATENTS, attention_head_dim=16,
        encoder_block_types="ResBlock", decoder_block_types=("ResBlock",) * 5 + ("EfficientViTBlock",),
        encoder_block_out_channels=channels, decoder_block_out_channels=channels,
        encoder_layers_per_block=(0, 1, 1, 1, 1, 1), decoder_layers_per_block=(0, 1, 1, 1, 2, 1),
        encoder_qkv_multiscales=((),) * 6, decoder_qkv_multiscales=((),) * 5 + ((5,),),
        downsample_block_type="pixel_unshuffle", upsample_block_type="pixel_shuffle",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=1.0,
        encoder_out_shortcut=shortcuts, decoder_in_shortcut=shortcuts,
    )  # fmt: skip


@torch.no_grad()
def settle(rough: AutoencoderDC, mean: torch.Tensor, deviation: torch.Tensor) -> AutoencoderDC:
    """The same autoencoder with its latents less ``mean``, by ``deviation``, for each channel; without shortcuts.

    Shortcuts are linear, and so are the shift and the scale: all go into the convolutions beside them. Only
    the decoder's zeros around the latents mean something else afterwards.
    """
    settled = autoencoder()
    settled.load_state_dict(rough.state_dict())
    out, into = settled.encoder.conv_out, settled.decoder.conv_in
    group = out.in_channels // LATENTS
    for channel in range(LATENTS if rough.config.encoder_out_shortcut else 0):
        hidden = slice(channel * group, (channel + 1) * group)
        out.weight[channel, hidden, 1, 1] += 1 / group
        into.weight[hidden, channel, 1, 1] += 1
    out.weight /= deviation[:, None, None, None]
    out.bias.sub_(mean).div_(deviation)
    into.bias += (into.weight * mean[None, :, None, None]).sum((1, 2, 3))
    into.weight *= deviation[None, :, None, None]
    return settled


def transformer() -> SanaTransformer2DModel:
    """Positions count from 0 to 16 over a picture of any size, so that a layout is the same in every size."""
    heads = WIDTH // 32
    return SanaTransformer2DModel(
        patch_size=1, in_channels=LATENTS, out_channels=LATENTS, num_layers=BLOCKS, num_attention_heads=heads,
        attention_head_dim=32, num_cross_attention_heads=heads, cross_attention_head_dim=32,
        cross_attention_dim=WIDTH, caption_channels=TEXT_WIDTH, sample_size=16, interpolation_scale=1.0,
    )  # fmt: skip


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(flow_shift=SHIFT, use_flow_sigmas=True, prediction_type="flow_prediction")


def pipeline(parts: dict[str, torch.nn.Module]) -> SanaPipeline:
    """The parts as what diffusers loads."""
    words, _ = tokenizer()
    return SanaPipeline(words, parts["text_encoder"], parts["vae"], parts["transformer"], scheduler())
