"""What a memory setting takes on a card, by arithmetic from what its parts take. Pure.

The parts come from :mod:`batch.render.foresight`: the weights of every component, and for each stage the bytes of
activations that live at once. A setting decides which weights lie beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from batch.memory.steps import OFFLOADS, TEXTS_OFFLOADED
from batch.records import Call

GIB = 2**30

CONTEXT = GIB // 2
"""CUDA's context with the kernels of torch and cuBLAS: an estimate, 0.3 to 0.6 GiB on cards of recent years."""

COPIES = 1
"""So many copies of a stage's largest tensor for cuDNN, which may bring what it convolves into another layout: an
estimate. Versions before 9.3 take far more for a picture of many megapixels in one piece."""

FRAGMENTATION = 0.05
"""Of weights and activations: what torch's allocator holds and cannot use. An estimate."""

KEPT_BY_DRIVER = 0.03
"""Of a card's memory: what no process gets. An estimate: a card of 8 GB shows 7.8 GiB to torch. What a desktop
takes for its screens comes on top."""

CARDS = (4, 6, 8, 12, 16, 24)
"""The sizes of cards that a prediction is told for, in GB as they are sold (GiB)."""

STAGES = ("encode", "denoise", "decode")

VAE = "vae"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One of a pipeline's models, in bytes."""

    weights: int
    """Parameters and buffers."""
    buffers: int
    leaf: int
    """The parameters of its largest layer: what sequential offloading has on the card at a time."""
    block: int = 0
    """Of its largest block; 0 where it has none."""
    outside: int = 0
    """Parameters and buffers that are in no block."""
    linear: int = 0
    """Weights of linear layers, which quantisation makes smaller."""
    fp8: int = 0
    """:attr:`weights` with those in 8 bits that ``fp8_weights`` stores so."""
    locked: int = 0
    """:attr:`weights` page-locked: torch rounds every tensor up to a power of two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one stage takes beside weights, in bytes."""

    activations: int
    largest: int
    """Its largest tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that the prediction of a setting is made of."""

    texts: Mapping[str, Component]
    """Text encoders by name: loaded alone, and freed before the images."""
    images: Mapping[str, Component]
    """The others."""
    encode: Work
    denoise: Work
    decode: Work
    """Of ``vae_cpu``: in host memory, with the weights in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """One stage on the card, in bytes."""

    allocated: int
    """Tensors that live at once."""
    needed: int
    """With the allowance for what is beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A setting's peaks, and what lies in host memory (the program itself apart)."""

    stages: Mapping[str, Peak]
    host: int

    @property
    def needed(self) -> int:
        """Bytes that the whole run takes on the card."""
        return max(peak.needed for peak in self.stages.values())

    def fits(self, *, without: Iterable[str] = ()) -> dict[int, bool]:
        """For every size of card whether the stages fit, but for those named."""
        needed = max(peak.needed for name, peak in self.stages.items() if name not in without)
        return {card: needed <= card * GIB * (1 - KEPT_BY_DRIVER) for card in CARDS}


def of(parts: Parts, steps: tuple[Call, ...]) -> Footprint:
    """What a memory setting takes: a list of steps, of which those that move or shrink weights count here.

    Tiling and what denoising does at a time are in the parts already.
    """
    given = {step.name: dict(step.arguments) for step in steps}
    denoisers = {name: _stored(item, given) for name, item in parts.images.items() if name != VAE}
    decoders = {name: item for name, item in parts.images.items() if name == VAE}
    on_cpu = "vae_cpu" in given
    images = {**denoisers, **({} if on_cpu else decoders)}
    stages = {
        "encode": _encoding(parts, given),
        "denoise": _peak(_resident({**denoisers, **decoders}, denoisers, given, "denoise"), parts.denoise),
        "decode": _peak(
            _resident(images, {} if on_cpu else decoders, given, "decode"), NOTHING if on_cpu else parts.decode
        ),
    }
    host = _in_host(denoisers, given) + _weights({} if on_cpu else decoders) if OFFLOADED & set(given) else 0
    texts_host = _in_host(parts.texts, given) if TEXTS_OFFLOADED & set(given) else 0
    if "text_encoder_cpu" in given:
        texts_host = _weights(parts.texts) + parts.encode.activations
    return Footprint(stages=stages, host=max(texts_host, host + (parts.decode.activations if on_cpu else 0)))


NOTHING = Work(activations=0, largest=0)

OFFLOADED = frozenset(OFFLOADS)

_LEFT_OF_LINEAR = {"bnb8": 0.51, "torchao_int8": 0.51, "torchao_float8": 0.51, "bnb4": 0.28}
"""Of 16 bits, with the scales that are kept beside."""


def _stored(item: Component, given: Mapping[str, Mapping[str, Any]]) -> Component:
    """A denoiser with its weights as a setting stores them."""
    if "fp8_weights" in given:
        share = item.fp8 / item.weights
        # One layer at a time is there in full too.
        return replace(
            item,
            weights=item.fp8 + item.leaf,
            leaf=round(1.5 * item.leaf),
            block=round(item.block * share) + item.leaf,
            locked=round(item.locked * share),
        )
    if "quantize" in given:
        saved = item.linear * (1 - _LEFT_OF_LINEAR[str(given["quantize"]["to"])])
        return replace(item, weights=item.weights - round(saved))
    return item


def _encoding(parts: Parts, given: Mapping[str, Any]) -> Peak:
    """Text encoders are on the card alone, all of them while they work, unless they are moved layer by layer."""
    if "text_encoder_cpu" in given:
        return _peak(0, NOTHING)
    if TEXTS_OFFLOADED.isdisjoint(given):
        return _peak(_weights(parts.texts), parts.encode)
    if "sequential_cpu_offload" not in given:
        given = {"group_offload": {"stream": True, **given.get("group_offload", {}), "level": "leaf"}}
    return _peak(_resident(parts.texts, parts.texts, given, "encode"), parts.encode)


def _resident(
    loaded: Mapping[str, Component], at_work: Mapping[str, Component], given: Mapping[str, Any], stage: str
) -> int:
    """Bytes of weights on the card while some of the loaded components work."""
    if "sequential_cpu_offload" in given:
        # Buffers are put on the card once and stay there.
        buffers = sum(part.buffers for part in loaded.values())
        return buffers + max((part.leaf for part in at_work.values()), default=0)
    if "group_offload" in given:
        groups = given["group_offload"]
        waiting = sum(part.outside for part in loaded.values()) if groups["level"] == "block" else 0
        return waiting + max((_moving(part, groups, stage) for part in at_work.values()), default=0)
    if "model_cpu_offload" in given:
        return max((part.weights for part in at_work.values()), default=0)
    return _weights(loaded)


def _moving(part: Component, groups: Mapping[str, Any], stage: str) -> int:
    """What of one component is on the card under ``group_offload``; with a stream the next group too."""
    if groups["level"] == "leaf":
        # Without a stream where decoding never calls what would learn the order of the layers.
        return part.leaf * (2 if groups["stream"] and stage != "decode" else 1)
    if stage == "decode" or not part.block:
        return part.weights  # it comes whole
    return part.block * (2 if groups["stream"] else int(groups["blocks"]))


def _in_host(components: Mapping[str, Component], given: Mapping[str, Any]) -> int:
    """Bytes of host memory that offloaded components lie in: page-locked where a stream copies from it.

    Never those of an autoencoder, which is moved without one.
    """
    grouped = given.get("group_offload", {"stream": "text_encoder_offload" in given})
    return sum(item.locked if grouped["stream"] else item.weights for item in components.values())


def _weights(components: Mapping[str, Component]) -> int:
    return sum(item.weights for item in components.values())


def fitting(weights: int, activations: int) -> int:
    """Bytes that a card must show for so much at once, where the largest tensor is not known."""
    return _peak(weights, Work(activations=activations, largest=activations // 3)).needed


def _peak(resident: int, work: Work) -> Peak:
    allocated = resident + work.activations
    beside = CONTEXT + COPIES * work.largest + FRAGMENTATION * allocated
    return Peak(allocated=allocated, needed=allocated + round(beside))
