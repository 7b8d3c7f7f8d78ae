"""Section of a visit about single kernels: the same work done in several ways, at the shapes of SANA at 4K.

The first way of each kind is the pipeline's own, and the others are compared with it. What cannot be done here is
a row with the error.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from diffusers.models.normalization import RMSNorm
from torch.nn.attention import SDPBackend, sdpa_kernel

from batch.render.device import give_back
from batch.render.failures import first_line
from benchmarks import rates
from benchmarks.card_bench import Bench, Shapes
from benchmarks.card_process import Say
from benchmarks.card_rows import Floor

DTYPE = torch.bfloat16

HEAD, CROSS_HEAD = 32, 112
"""Channels of a head of the linear and of the cross attention."""

SECONDS = 0.15
"""For the timing of one way."""

Way = Callable[[], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A piece of work and the ways to do it."""

    name: str
    ways: Mapping[str, Way]
    floor: Floor
    """The least it takes: what goes in read once and what comes out written once."""


def kernels(bench: Bench, say: Say) -> None:
    """All kinds; the tensors of one are gone before the next is made."""
    torch.manual_seed(0)
    with torch.no_grad():
        for make in (depthwise, biased, unbiased, linear_attention, masked, unmasked, norm):
            try:
                _compare(make(bench.shapes, bench.device), bench, say)
            except Exception as error:  # noqa: BLE001 - its tensors did not fit, say
                say(make.__name__, "failed", note=_said(error))
            give_back(bench.device)


def _compare(kind: Kind, bench: Bench, say: Say) -> None:
    first: torch.Tensor | None = None
    taken: dict[str, float] = {}
    for name, way in kind.ways.items():
        try:
            made, seconds = way(), _timed(way, bench.device)
        except Exception as error:  # noqa: BLE001 - that it cannot be done so is the result
            say(f"{kind.name}: {name}", "failed", note=_said(error))
            continue
        note = [_rate(kind.floor, seconds), "" if first is None else _apart(made, first)]
        first = made if first is None else first
        say(f"{kind.name}: {name}", 1000 * seconds, "ms", floor=kind.floor, note=", ".join(filter(None, note)))
        taken[name] = seconds
        del made
    if taken:
        best, own = min(taken, key=taken.__getitem__), next(iter(taken))
        said = best if best == own else f"{best}: {taken[best] / taken[own]:.0%} of the time of {own}"
        say(f"{kind.name}: fastest", 1000 * taken[best], "ms", floor=kind.floor, note=said, headline=True)


def _timed(way: Way, device: str) -> float:
    """Seconds of one call, the median of three rounds; the first call, which loads the kernel, was before."""
    times = max(1, min(50, int(SECONDS / 3 / rates.timed(way, device))))
    return statistics.median(rates.timed(way, device, times) / times for _ in range(3))


def _rate(floor: Floor, seconds: float) -> str:
    products = f"{floor.flops / seconds / 1e12:.4g} TFLOP/s, " if floor.flops else ""
    return f"{products}{floor.bytes / seconds / 1e9:.4g} GB/s"


def _apart(made: torch.Tensor, first: torch.Tensor) -> str:
    """The largest difference from the first way, absolute and as a part of the largest number."""
    most = float(first.abs().max())
    # In pieces: both in float32 at once would be four times what they are.
    pairs = zip(made.reshape(-1).split(2**26), first.reshape(-1).split(2**26), strict=True)
    apart = max(float((one.float() - two.float()).abs().max()) for one, two in pairs)
    return "no difference" if apart == 0 else f"differs by {apart:.3g} of {most:.3g}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


# The kinds


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
