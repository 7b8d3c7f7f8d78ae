"""Two kernels for the blocks of SANA's transformer, in Triton; benchmarks/card.py tries them on a card.

Of the bytes that a block moves beside its matrix products most belong to two places that Inductor cannot fuse:
a convolution stands in the middle of one, a sum over all tokens in the other. Each kernel reads once what goes in
and writes once what comes out. Inside it computes in float32, so what it gives is nearer to exact results than the
plain way's, and differs from that in low bits.

Both are operators of torch, which torch.compile leaves as they are. Without a card they run in Triton's
interpreter, and Triton compiles them for any card: tests/benchmarks/test_fused_kernels.py does both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from diffusers.models.attention_processor import Attention, SanaLinearAttnProcessor2_0
from diffusers.models.transformers.sana_transformer import GLUMBConv
from torch import nn

from tools.extras import extra

with extra("test"):
    import triton
    import triton.language as tl

WIDE, STRIP, CHANNELS, WARPS = 4, 32, 128, 2
"""What a program of the convolution makes, columns, rows and channels, and its warps. More columns take more
registers: ``python -m tests.benchmarks.assembled 90`` prints them."""

TOKENS, SPANS = 64, 16
"""Of linear attention: tokens at a time, and parts that the sum over all tokens is made in."""

HALVES = (torch.bfloat16, torch.float16)
"""What the kernels take: in float32 tensor cores would round."""

Part = Literal["attention", "feed-forward"]


# The feed-forward between its two products


@torch.library.custom_op("run_batch::gated_depthwise", mutates_args=())
def gated_depthwise(
    read: torch.Tensor,
    bias_in: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    wide: int = WIDE,
    strip: int = STRIP,
) -> torch.Tensor:
    """SiLU, a 3x3 convolution of every channel by itself, and the second half of them as a gate of the first.

    ``read`` ``[B, H, W, 2C]``, contiguous and in half precision, is the first product without its bias ``bias_in``
    ``[2C]``; ``weight`` ``[2C, 1, 3, 3]`` and ``bias`` are the convolution's. Gives ``[B, H, W, C]``. A program
    makes ``strip`` rows of ``wide`` columns.
    """
    if read.dtype not in HALVES or not read.is_contiguous():
        raise ValueError(f"takes contiguous tensors in half precision, not {read.dtype} with {read.stride()}")
    images, rows, columns, channels = read.shape
    made = read.new_empty(images, rows, columns, channels // 2)
    grid = (triton.cdiv(channels // 2, CHANNELS), triton.cdiv(columns, wide), images * triton.cdiv(rows, strip))
    taps = weight.flatten(1).t().contiguous()  # [9, 2C]: channels side by side, as in the picture
    _gated_depthwise[grid](
        read, bias_in, taps, bias, made, rows, columns, channels // 2,
        STRIP=strip, WIDE=wide, BLOCK=CHANNELS, num_warps=WARPS,
    )  # fmt: skip
    return made


@gated_depthwise.register_fake
def _(
    read: torch.Tensor, _in: Any, _weight: Any, _bias: Any, _wide: int = WIDE, _strip: int = STRIP
) -> torch.Tensor:
    return read.new_empty(*read.shape[:-1], read.shape[-1] // 2)


@triton.jit
def _gated_depthwise(
    read, bias_in, taps, bias, write, rows, columns, channels,
    STRIP: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A strip of rows from top to bottom. Each row is read once and added to the three that it is part of."""
    channel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    known = channel < channels
    left = tl.program_id(1) * WIDE
    strips = tl.cdiv(rows, STRIP)
    image = (tl.program_id(2) // strips).to(tl.int64)
    top = tl.program_id(2) % strips * STRIP
    both = 2 * channels
    value_in, value_taps, value_bias = _weights(bias_in, taps, bias, channel, known, both)
    gate_in, gate_taps, gate_bias = _weights(bias_in, taps, bias, channel + channels, known, both)
    # Rows that are not complete: the one above lacks its last three taps, the own one six.
    value_above, value_own = (value_bias,) * WIDE, (value_bias,) * WIDE
    gate_above, gate_own = (gate_bias,) * WIDE, (gate_bias,) * WIDE
    for step in range(STRIP + 2):
        row = top + step - 1
        line = read + (image * rows + row) * columns * both + channel
        inside = (row >= 0) & (row < rows)
        value = _activated(line, left, columns, both, inside, known, value_in, WIDE)
        gate = _activated(line + channels, left, columns, both, inside, known, gate_in, WIDE)
        done = _added(value_above, value, value_taps, 6, WIDE)
        opened = _added(gate_above, gate, gate_taps, 6, WIDE)
        place = write + (image * rows + row - 1) * columns * channels + channel
        for index in tl.static_range(WIDE):
            column = left + index
            kept = known & (step >= 2) & (row <= rows) & (column < columns)
            made = done[index] * _silu(opened[index])
            tl.store(place + column * channels, made.to(write.dtype.element_ty), mask=kept)
        value_above = _added(value_own, value, value_taps, 3, WIDE)
        gate_above = _added(gate_own, gate, gate_taps, 3, WIDE)
        value_own = _added((value_bias,) * WIDE, value, value_taps, 0, WIDE)
        gate_own = _added((gate_bias,) * WIDE, gate, gate_taps, 0, WIDE)


@triton.jit
def _weights(bias_in, taps, bias, channel, known, both):
    """Of some channels: the bias before, nine taps, the bias after."""
    found = ()
    for tap in tl.static_range(9):
        found = found + (tl.load(taps + tap * both + channel, mask=known, other=0.0).to(tl.float32),)
    before = tl.load(bias_in + channel, mask=known, other=0.0).to(tl.float32)
    after = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    return before, found, after


@triton.jit
def _activated(line, left, columns, both, inside, known, bias_in, WIDE: tl.constexpr):
    """Some columns of a row and one more at each side; outside of the picture zero, which its bias is not."""
    found = ()
    for index in tl.static_range(WIDE + 2):
        column = left + index - 1
        there = inside & (column >= 0) & (column < columns)
        value = tl.load(line + column * both, mask=known & there, other=0.0).to(tl.float32)
        found = found + (tl.where(there, _silu(value + bias_in), 0.0),)
    return found


@triton.jit
def _added(sums, row, taps, first: tl.constexpr, WIDE: tl.constexpr):
    """With a row under three of the taps."""
    found = ()
    for index in tl.static_range(WIDE):
        three = row[index] * taps[first] + row[index + 1] * taps[first + 1] + row[index + 2] * taps[first + 2]
        found = found + (sums[index] + three,)
    return found


@triton.jit
def _silu(value):
    return value / (1.0 + tl.exp(-value))


# Linear attention


@torch.library.custom_op("run_batch::linear_attention", mutates_args=())
def linear_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention with ReLU in place of the softmax, so that tokens are summed up once, whatever asks for them.

    All three ``[B, N, heads * D]``, contiguous and in half precision; ``D`` is a power of two, 16 or more. Gives
    ``[B, N, heads * D]``.
    """
    images, tokens, width = query.shape
    head = width // heads
    if query.dtype not in HALVES or not all(item.is_contiguous() for item in (query, key, value)):
        raise ValueError(f"takes contiguous tensors in half precision, not {query.dtype}")
    if head < 16 or head & (head - 1):
        raise ValueError(f"takes heads of 16, 32, 64 … channels, not of {head}")
    span = triton.cdiv(triton.cdiv(tokens, SPANS), TOKENS) * TOKENS
    spans = triton.cdiv(tokens, span)
    products = query.new_empty(images, spans, heads, head, head, dtype=torch.float32)
    totals = query.new_empty(images, spans, heads, head, dtype=torch.float32)
    _summed[heads, spans, images](
        key, value, products, totals, tokens, heads, width, SPAN=span, BLOCK=TOKENS, HEAD=head,
    )  # fmt: skip
    made = torch.empty_like(query)
    _weighted[heads, triton.cdiv(tokens, TOKENS), images](
        query, products.sum(1), totals.sum(1), made, tokens, heads, width, BLOCK=TOKENS, HEAD=head,
    )  # fmt: skip
    return made


@linear_attention.register_fake
def _(query: torch.Tensor, _key: Any, _value: Any, _heads: int) -> torch.Tensor:
    return torch.empty_like(query)


@triton.jit
def _summed(
    key, value, products, totals, tokens, heads, width, SPAN: tl.constexpr, BLOCK: tl.constexpr, HEAD: tl.constexpr
):
    """Of one head and a span of tokens: keys times values, and the keys alone."""
    head, span, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    channel = tl.arange(0, HEAD)
    product = tl.zeros((HEAD, HEAD), tl.float32)
    total = tl.zeros((HEAD,), tl.float32)
    first = image.to(tl.int64) * tokens * width + head * HEAD + channel[None, :]
    for done in range(0, SPAN, BLOCK):
        token = span * SPAN + done + tl.arange(0, BLOCK)
        there = (token < tokens)[:, None]
        place = first + token[:, None] * width
        keys = tl.load(key + place, mask=there, other=0.0)
        keys = tl.where(keys > 0, keys, 0.0).to(key.dtype.element_ty)
        values = tl.load(value + place, mask=there, other=0.0)
        product = tl.dot(tl.trans(keys), values, product)
        total += tl.sum(keys.to(tl.float32), 0)
    part = (image * tl.num_programs(1) + span) * heads + head
    tl.store(products + part * HEAD * HEAD + channel[:, None] * HEAD + channel[None, :], product)
    tl.store(totals + part * HEAD + channel, total)


@triton.jit
def _weighted(query, products, totals, write, tokens, heads, width, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    """Of one head and some tokens: queries times what was summed, divided by their sum of weights."""
    head, image = tl.program_id(0), tl.program_id(2)
    token = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, HEAD)
    there = (token < tokens)[:, None]
    place = image.to(tl.int64) * tokens * width + token[:, None] * width + head * HEAD + channel[None, :]
    queries = tl.load(query + place, mask=there, other=0.0).to(tl.float32)
    queries = tl.where(queries > 0, queries, 0.0)
    part = image * heads + head
    product = tl.load(products + part * HEAD * HEAD + channel[:, None] * HEAD + channel[None, :])
    total = tl.load(totals + part * HEAD + channel)
    # The queries are exact in TF32; the sums lose what is below a 2048th, half precision's own or less.
    made = tl.dot(queries, product, input_precision="tf32")
    weight = tl.sum(queries * total[None, :], 1)[:, None]
    tl.store(write + place, (made / (weight + 1e-15)).to(write.dtype.element_ty), mask=there)


# In a model


@contextmanager
def in_place(transformer: nn.Module, *parts: Part) -> Iterator[None]:
    """While it lasts, the blocks of a SANA transformer compute these parts with the kernels."""
    modules = list(transformer.modules())
    attentions: list[Any] = [item for item in modules if "attention" in parts and _attends_linearly(item)]
    feeds: list[Any] = [item for item in modules if "feed-forward" in parts and _feeds(item)]
    for attention in attentions:
        attention.set_processor(_LinearAttention())
    for feed in feeds:
        feed.__class__ = _Fed  # a method of its own would have every block compiled apart
    try:
        yield
    finally:
        for attention in attentions:
            attention.set_processor(SanaLinearAttnProcessor2_0())
        for feed in feeds:
            feed.__class__ = GLUMBConv


def _attends_linearly(module: nn.Module) -> bool:
    return isinstance(module, Attention) and type(module.processor) is SanaLinearAttnProcessor2_0


def _feeds(module: nn.Module) -> bool:
    return type(module) is GLUMBConv and module.norm is None and not module.residual_connection


class _LinearAttention:
    """``SanaLinearAttnProcessor2_0`` between its projections with :func:`linear_attention`."""

    def __call__(self, attn: Attention, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        made = attn.to_out[1](attn.to_out[0](linear_attention(query, key, value, attn.heads)))
        return made.clip(-65504, 65504) if made.dtype == torch.float16 else made


class _Fed(GLUMBConv):
    """``GLUMBConv`` with its 1x1 convolutions as products of tokens, and all between them one kernel."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]``, channels last in memory."""
        tokens = hidden_states.permute(0, 2, 3, 1)
        inner = F.linear(tokens, self.conv_inverted.weight.flatten(1))
        gated = gated_depthwise(inner, self.conv_inverted.bias, self.conv_depth.weight, self.conv_depth.bias)
        return F.linear(gated, self.conv_point.weight.flatten(1)).permute(0, 3, 1, 2)
