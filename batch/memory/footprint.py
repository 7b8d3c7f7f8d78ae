"""What a memory setting takes on a card, by arithmetic from what its parts take. Pure.

The parts come from :mod:`batch.render.foresight`: the weights of every component, and for each stage the bytes of
activations that live at once. A setting decides which weights lie beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from batch.memory import profiles
from batch.memory.quantised import backend
from batch.memory.steps import OFFLOADS, TEXTS_OFFLOADED, Groups, groups_of
from batch.records.kinds import Stage
from batch.records.values import Call

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

DENOISE_PER_PIXEL = 1.95 * GIB / (5376 * 3072)
"""Bytes of activations per pixel rendered that denoising with guidance takes in SANA 1.6B, as
:mod:`batch.render.foresight` counts them: 1.95 GiB at 5376x3072. They grow with the pixels."""

DC_DECODE_PER_PIXEL = 1.65 * GIB / (1024 * 1024)
"""The same of AutoencoderDC for a tile, or for a picture that is no larger."""

FULL_DECODE_PER_PIXEL = 4.0 * GIB / (1024 * 1024)
"""An 8x autoencoder works at full resolution with hundreds of channels: a picture of one megapixel decoded in
one piece takes about 4 GiB in float32. An estimate that offloads too early is slower, never wrong."""

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
class StageWork:
    """What one stage takes beside weights, in bytes."""

    activations: int
    largest: int
    """Its largest tensor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineParts:
    """Everything that the prediction of a setting is made of."""

    texts: Mapping[str, Component]
    """Text encoders by name: loaded alone, and freed before the images."""
    images: Mapping[str, Component]
    """The others."""
    encode: StageWork
    denoise: StageWork
    decode: StageWork
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


def of(parts: PipelineParts, steps: tuple[Call, ...]) -> Footprint:
    """What a memory setting takes: a list of steps, of which those that move or shrink weights count here.

    Tiling and what denoising does at a time are in the parts already.
    """
    given = {step.name: step for step in steps}
    on_cpu = "vae_cpu" in given
    denoisers = {name: _stored(item, given) for name, item in parts.images.items() if name != VAE}
    decoders = {name: item for name, item in parts.images.items() if name == VAE}
    to_decode = {} if on_cpu else decoders
    way = _way_of(given)
    stages: dict[str, Peak] = {
        Stage.ENCODE: _encoding(parts, given),
        Stage.DENOISE: _peak(_resident({**denoisers, **decoders}, denoisers, way, Stage.DENOISE), parts.denoise),
        Stage.DECODE: _peak(
            _resident({**denoisers, **to_decode}, to_decode, way, Stage.DECODE),
            NOTHING if on_cpu else parts.decode,
        ),
    }
    host = parts.decode.activations if on_cpu else 0
    if not given.keys().isdisjoint(OFFLOADS):
        host += _in_host(denoisers, given) + _weights(to_decode)
    texts_host = 0
    if "text_encoder_cpu" in given:
        texts_host = _weights(parts.texts) + parts.encode.activations
    elif not given.keys().isdisjoint(TEXTS_OFFLOADED):
        texts_host = _in_host(parts.texts, given)
    return Footprint(stages=stages, host=max(texts_host, host))


NOTHING = StageWork(activations=0, largest=0)

_LEFT_OF_LINEAR = {"bnb8": 0.51, "torchao_int8": 0.51, "torchao_float8": 0.51, "bnb4": 0.28}
"""Of 16 bits, with the scales that are kept beside."""

_Way = Literal["none", "component", "layer"] | Groups
"""How weights come to the card: all are there, a component or a layer at a time, or in groups."""


def _way_of(given: Mapping[str, Call]) -> _Way:
    if "sequential_cpu_offload" in given:
        return "layer"
    if "group_offload" in given:
        return groups_of(given["group_offload"])
    return "component" if "model_cpu_offload" in given else "none"


def _stored(item: Component, given: Mapping[str, Call]) -> Component:
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
        saved = item.linear * (1 - _LEFT_OF_LINEAR[backend(tuple(given.values()))])
        return replace(item, weights=item.weights - round(saved))
    return item


def _encoding(parts: PipelineParts, given: Mapping[str, Call]) -> Peak:
    """Text encoders are on the card alone, all of them while they work, unless they are moved layer by layer."""
    if "text_encoder_cpu" in given:
        return _peak(0, NOTHING)
    if given.keys().isdisjoint(TEXTS_OFFLOADED):
        return _peak(_weights(parts.texts), parts.encode)
    way = _way_of(given)
    if way != "layer":
        way = Groups("leaf", way.stream if isinstance(way, Groups) else True)
    return _peak(_resident(parts.texts, parts.texts, way, Stage.ENCODE), parts.encode)


def _resident(loaded: Mapping[str, Component], at_work: Mapping[str, Component], way: _Way, stage: Stage) -> int:
    """Bytes of weights on the card while some of the loaded components work."""
    if way == "none":
        return _weights(loaded)
    if way == "component":
        return max((part.weights for part in at_work.values()), default=0)
    if way == "layer":
        # Buffers are put on the card once and stay there.
        buffers = sum(part.buffers for part in loaded.values())
        return buffers + max((part.leaf for part in at_work.values()), default=0)
    waiting = sum(part.outside for part in loaded.values()) if way.level == "block" else 0
    return waiting + max((_moving(part, way, stage) for part in at_work.values()), default=0)


def _moving(part: Component, groups: Groups, stage: Stage) -> int:
    """What of one component is on the card under ``group_offload``; with a stream the next group too."""
    if groups.level == "leaf":
        # Without a stream where decoding never calls what would learn the order of the layers.
        return part.leaf * (2 if groups.stream and stage != Stage.DECODE else 1)
    if stage == Stage.DECODE or not part.block:
        return part.weights  # it comes whole
    return part.block * (2 if groups.stream else groups.blocks)


def _in_host(components: Mapping[str, Component], given: Mapping[str, Call]) -> int:
    """Bytes of host memory that offloaded components lie in: page-locked where a stream copies from it.

    Never those of an autoencoder, which is moved without one.
    """
    grouped = given.get("group_offload")
    locked = groups_of(grouped).stream if grouped else "text_encoder_offload" in given
    return sum(item.locked if locked else item.weights for item in components.values())


def _weights(components: Mapping[str, Component]) -> int:
    return sum(item.weights for item in components.values())


def activations(autoencoder: str, pixels: int) -> int:
    """Bytes that one image takes at most beside weights under ``auto``, guessed from the class and its pixels.

    For decisions that cannot wait for a prediction.
    """
    decoded = min(pixels, profiles.AUTO_TILE_ABOVE)  # above that size auto decodes in tiles
    if autoencoder == "AutoencoderDC":
        return int(max(pixels * DENOISE_PER_PIXEL, decoded * DC_DECODE_PER_PIXEL))
    return int(decoded * FULL_DECODE_PER_PIXEL)


def fitting(weights: int, activations: int) -> int:
    """Bytes that a card must show for so much at once, where the largest tensor is not known."""
    return _peak(weights, StageWork(activations=activations, largest=activations // 3)).needed


def _peak(resident: int, work: StageWork) -> Peak:
    allocated = resident + work.activations
    beside = CONTEXT + COPIES * work.largest + FRAGMENTATION * allocated
    return Peak(allocated=allocated, needed=allocated + round(beside))
