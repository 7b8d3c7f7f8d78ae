"""What a memory setting takes on a card, by arithmetic from what its parts take. Pure.

The parts come from :mod:`batch.render.foresight`: the weights of every component, and for each stage the bytes of
activations that live at once. A setting decides which weights lie beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
    """What a memory setting takes: a list of steps, of which offloading and ``vae_cpu`` count here.

    Tiling is in the parts already. Text encoders are on the card whatever the setting, while they work.
    """
    names = {step.name for step in steps}
    denoisers = {name: item for name, item in parts.images.items() if name != VAE}
    decoders = {name: item for name, item in parts.images.items() if name == VAE}
    on_cpu = "vae_cpu" in names
    work = {"denoise": parts.denoise, "decode": Work(activations=0, largest=0) if on_cpu else parts.decode}
    at_work = {"denoise": denoisers, "decode": {} if on_cpu else decoders}
    stages = {"encode": _peak(_weights(parts.texts), parts.encode)}
    for stage, item in work.items():
        if "sequential_cpu_offload" in names:
            # Buffers are put on the card once and stay there.
            resident = sum(part.buffers for part in parts.images.values())
            resident += max((part.leaf for part in at_work[stage].values()), default=0)
        elif "model_cpu_offload" in names:
            resident = max((part.weights for part in at_work[stage].values()), default=0)
        else:
            resident = _weights(denoisers if on_cpu and stage == "decode" else parts.images)
        stages[stage] = _peak(resident, item)
    offloaded = names & {"sequential_cpu_offload", "model_cpu_offload"}
    host = _weights(denoisers if on_cpu else parts.images) if offloaded else 0
    return Footprint(stages=stages, host=host + (parts.decode.activations if on_cpu else 0))


def _weights(components: Mapping[str, Component]) -> int:
    return sum(item.weights for item in components.values())


def _peak(resident: int, work: Work) -> Peak:
    allocated = resident + work.activations
    beside = CONTEXT + COPIES * work.largest + FRAGMENTATION * allocated
    return Peak(allocated=allocated, needed=allocated + round(beside))
