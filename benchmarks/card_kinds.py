"""Pieces of work of one block and one tile of SANA at 4K, and the ways to do each: see card_kernels.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from diffusers.models.normalization import RMSNorm
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.card_bench import Shapes
from benchmarks.card_rows import Floor

DTYPE = torch.bfloat16

HEAD, CROSS_HEAD = 32, 112
"""Channels of a head of the linear and of the cross attention."""

Way = Callable[[], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A piece of work and the ways to do it."""

    name: str
    ways: Mapping[str, Way]
    floor: Floor
    """The least it takes: what goes in read once and what comes out written once."""


def _drawn(device: str, *shape: int, dtype: torch.dtype = DTYPE) -> torch.Tensor:
    return torch.randn(shape, device=device, dtype=dtype)


def _size(*tensors: torch.Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def depthwise(shapes: Shapes, device: str) -> Kind:
    """The feed-forward's 3x3 convolution of every channel by itself."""
    channels = shapes.hidden
    plain = _drawn(device, shapes.images, channels, shapes.rows, shapes.columns)
    last = plain.to(memory_format=torch.channels_last)
    weight, bias = _drawn(device, channels, 1, 3, 3), _drawn(device, channels)
    weight_last = weight.to(memory_format=torch.channels_last)

    def convolved(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return F.conv2d(image, kernel, bias, padding=1, groups=channels)

    def without_cudnn(image: torch.Tensor) -> torch.Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return convolved(image, weight)

    return Kind(
        name="depthwise 3x3",
        ways={
            "channels_last": partial(convolved, last, weight),
            "channels_last, weights too": partial(convolved, last, weight_last),
            "contiguous": partial(convolved, plain, weight),
            "contiguous, no cuDNN": partial(without_cudnn, plain),
            "channels_last, no cuDNN": partial(without_cudnn, last),
        },
        floor=Floor(bytes=2 * _size(plain) + _size(weight, bias)),
    )


def biased(shapes: Shapes, device: str) -> Kind:
    """The feed-forward's first product, with its bias."""
    return _product("1x1 with bias", shapes, device, _drawn(device, shapes.hidden))


def unbiased(shapes: Shapes, device: str) -> Kind:
    """The same without bias."""
    return _product("1x1 without bias", shapes, device, None)


def _product(name: str, shapes: Shapes, device: str, bias: torch.Tensor | None) -> Kind:
    tokens = _drawn(device, shapes.images, shapes.tokens, shapes.width)
    weight = _drawn(device, shapes.hidden, shapes.width) / shapes.width**0.5
    image = tokens.unflatten(1, (shapes.rows, shapes.columns)).permute(0, 3, 1, 2)
    kernel = weight[:, :, None, None]

    def convolved() -> torch.Tensor:
        return F.conv2d(image, kernel, bias).permute(0, 2, 3, 1).flatten(1, 2)

    def multiplied() -> torch.Tensor:
        return F.linear(tokens, weight, bias)

    made = shapes.images * shapes.tokens * shapes.hidden
    return Kind(
        name=name,
        ways={"convolution": convolved, "linear": multiplied},
        floor=Floor(flops=2 * made * shapes.width, bytes=_size(tokens, weight) + made * DTYPE.itemsize),
    )


def projections(shapes: Shapes, device: str) -> Kind:
    """Queries, keys and values of the linear attention."""
    tokens = _drawn(device, shapes.images, shapes.tokens, shapes.width)
    weight = _drawn(device, 3 * shapes.width, shapes.width) / shapes.width**0.5
    three = [part.clone() for part in weight.chunk(3)]

    def one_by_one() -> torch.Tensor:
        return torch.cat([F.linear(tokens, part)[:, :1] for part in three], dim=2)

    def at_once() -> torch.Tensor:
        return F.linear(tokens, weight)[:, :1]

    return Kind(
        name="projections",
        ways={"one by one": one_by_one, "at once": at_once},
        floor=Floor(flops=6 * tokens.numel() * shapes.width, bytes=4 * _size(tokens) + _size(weight)),
    )


def linear_attention(shapes: Shapes, device: str) -> Kind:
    """Its two products: values (with a row of ones) by keys, then by queries."""
    heads, tokens = shapes.images * shapes.heads, shapes.tokens
    query = _drawn(device, heads, HEAD, tokens).relu_()
    key = _drawn(device, heads, tokens, HEAD).relu_()
    value = F.pad(_drawn(device, heads, HEAD, tokens), (0, 0, 0, 1), value=1.0)
    # Scaled so that the sums over all tokens stay in the range where bfloat16 can be compared.
    key = key / tokens
    full = [tensor.float() for tensor in (value, key, query)]

    def products(value: torch.Tensor, key: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return torch.bmm(torch.bmm(value, key), query)

    def in_tf32() -> torch.Tensor:
        torch.set_float32_matmul_precision("high")
        try:
            return products(*full)
        finally:
            torch.set_float32_matmul_precision("highest")

    def to_float32() -> torch.Tensor:
        scores = torch.bmm(value, key, out_dtype=torch.float32)
        return torch.bmm(scores.to(DTYPE), query, out_dtype=torch.float32)

    made = heads * (HEAD + 1) * tokens
    return Kind(
        name="linear attention",
        ways={
            "float32": partial(products, *full),
            "float32, TF32 allowed": in_tf32,
            "bfloat16": partial(products, value, key, query),
            "bfloat16 to float32": to_float32,
        },
        floor=Floor(
            flops=4 * made * HEAD, bytes=_size(*full) + made * torch.float32.itemsize, float32=True,
        ),
    )  # fmt: skip


def masked(shapes: Shapes, device: str) -> Kind:
    """The cross attention with the mask that the pipeline gives: two fifths of the text's tokens are none."""
    kept = torch.ones(shapes.images, shapes.keys, device=device, dtype=DTYPE)
    kept[:, shapes.keys * 3 // 5 :] = 0
    mask = ((1 - kept) * -10000.0)[:, None].repeat_interleave(shapes.cross_heads, dim=0)
    return _attention("cross attention", shapes, device, mask.view(shapes.images, shapes.cross_heads, 1, -1))


def unmasked(shapes: Shapes, device: str) -> Kind:
    """The same without a mask, which is what the fastest kernels want."""
    return _attention("cross attention, no mask", shapes, device, None)


def _attention(name: str, shapes: Shapes, device: str, mask: torch.Tensor | None) -> Kind:
    def split(tokens: int) -> torch.Tensor:
        flat = _drawn(device, shapes.images, tokens, shapes.cross_heads * CROSS_HEAD)
        return flat.view(shapes.images, tokens, shapes.cross_heads, CROSS_HEAD).transpose(1, 2)

    query, key, value = split(shapes.tokens), split(shapes.keys), split(shapes.keys)
    attend = partial(F.scaled_dot_product_attention, query, key, value, attn_mask=mask)

    def by(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return attend()

    kinds = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
             "cuDNN": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}  # fmt: skip
    pairs = shapes.images * shapes.cross_heads * shapes.tokens * shapes.keys
    return Kind(
        name=name,
        ways={"as torch chooses": attend, **{kind: partial(by, backend) for kind, backend in kinds.items()}},
        floor=Floor(flops=4 * pairs * CROSS_HEAD, bytes=_size(query, query, key, value)),
    )


def norm(shapes: Shapes, device: str) -> Kind:
    """The decoder's norm at full resolution, over the channels of a tile."""
    image = _drawn(device, 1, shapes.tile, shapes.tile, shapes.channels)
    own = RMSNorm(shapes.channels, eps=1e-5, elementwise_affine=True, bias=True).to(device, DTYPE)

    def fused() -> torch.Tensor:
        return F.rms_norm(image, (shapes.channels,), own.weight, own.eps) + own.bias

    def fused_bare() -> torch.Tensor:
        return F.rms_norm(image, (shapes.channels,), own.weight, own.eps)

    return Kind(
        name="decoder's norm",
        ways={"as diffusers": partial(own, image), "fused": fused, "fused, no bias": fused_bare},
        floor=Floor(bytes=2 * _size(image)),
    )


def feed_forward(shapes: Shapes, device: str) -> Kind:
    """All of the feed-forward between its two products."""
    channels = shapes.hidden
    read = _drawn(device, shapes.images, shapes.rows, shapes.columns, channels)
    given = (read, _drawn(device, channels), _drawn(device, channels, 1, 3, 3) / 3, _drawn(device, channels))
    return Kind(
        name="between the products",
        ways=_fusings(device, _gated, "gated_depthwise", given, (2, 8)),
        floor=Floor(bytes=_size(read) * 3 // 2),
    )


def attention(shapes: Shapes, device: str) -> Kind:
    """All of the linear attention between its projections."""
    given = tuple(_drawn(device, shapes.images, shapes.tokens, shapes.width) for _ in range(3))
    return Kind(
        name="all of linear attention",
        ways=_fusings(device, _attended, "linear_attention", (*given, shapes.heads), ()),
        floor=Floor(flops=4 * given[0].numel() * HEAD, bytes=4 * _size(given[0])),
    )


def _gated(read: torch.Tensor, bias_in: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """As ``GLUMBConv`` of diffusers computes it."""
    image = F.silu((read + bias_in).permute(0, 3, 1, 2))
    image = F.conv2d(image, weight, bias, padding=1, groups=weight.shape[0])
    value, gate = image.chunk(2, dim=1)
    return (value * F.silu(gate)).permute(0, 2, 3, 1)


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """As ``SanaLinearAttnProcessor2_0`` of diffusers computes it."""
    query, key, value = (item.transpose(1, 2).unflatten(1, (heads, -1)) for item in (query, key, value))
    query, key = F.relu(query).float(), F.relu(key.transpose(2, 3)).float()
    scores = F.pad(value.float(), (0, 0, 0, 1), value=1.0) @ key
    made = scores @ query
    made = made[:, :, :-1] / (made[:, :, -1:] + 1e-15)
    return made.flatten(1, 2).transpose(1, 2).to(value.dtype)


def _fusings(
    device: str, plain: Callable[..., torch.Tensor], kernel: str, given: tuple[Any, ...], wide: tuple[int, ...]
) -> dict[str, Way]:
    """A chain of operations as it stands, as one kernel of fused_kernels.py, and as Inductor fuses it."""

    def fused(*more: int) -> torch.Tensor:
        from benchmarks import fused_kernels  # imports Triton

        made: torch.Tensor = getattr(fused_kernels, kernel)(*given, *more)
        return made

    ways: dict[str, Way] = {"eager": partial(plain, *given)}
    if device.startswith("cuda"):  # Triton is for cards, and on a CPU Inductor takes half a minute
        ways["Triton"] = fused
        ways |= {f"Triton, {columns} columns": partial(fused, columns) for columns in wide}
        ways["compiled"] = partial(torch.compile(plain, dynamic=False), *given)
    return ways


ALL: tuple[Callable[[Shapes, str], Kind], ...] = (
    depthwise, biased, unbiased, projections, linear_attention, masked, unmasked, norm, feed_forward, attention,
)  # fmt: skip
