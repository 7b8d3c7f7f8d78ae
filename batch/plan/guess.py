"""What an image of a model that was never rendered here may take, by how much there is to compute. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from batch.plan.rates import CostPart

if TYPE_CHECKING:
    from batch.plan.rates import CostFamily, CostKind, Rates

REACHED = 0.4
"""Of a card's rate by its data sheet: about what whole models come to (benchmarks/roofline.py has the floor)."""

PIXELS_A_TOKEN = 256
"""Of most models: an autoencoder of 8x, patches of 2x2. Those that have fewer tokens are faster than guessed."""

READS = 1e9
"""Bytes of weights a second, from a disk into a model."""

GIB = 2**30

HALF_PRECISION = 2
"""Bytes of a weight."""

MATRIX = {
    "NVIDIA H100 80GB HBM3": 9.89e14,
    "NVIDIA H200": 9.89e14,
    "NVIDIA A100-SXM4-80GB": 3.12e14,
    "NVIDIA A100-SXM4-40GB": 3.12e14,
    "NVIDIA GeForce RTX 4090": 1.652e14,
    "NVIDIA GeForce RTX 4070": 5.83e13,
}
"""FLOP/s of dense bfloat16 products by the driver's name of a card; ``benchmarks/cards.py`` says where from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What is known of models that were not rendered, and of the card."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """GiB that a model keeps on the device, by its name, where that is known."""
    card: str = ""
    """The driver's name of the card; "" without one."""

    def part(self, family: CostFamily, kind: CostKind, sources: Sequence[Rates]) -> float | None:
        """What a part takes: as other models take it here, else as the data sheet says; None: no idea.

        A setting that offloads is judged by models that it offloads too, else by what stays on the device, never
        the other way round.
        """
        for memory in dict.fromkeys((family.memory, "")):
            if found := [value for rates in sources for value in self._others(rates, family, kind, memory)]:
                return median(found)
        weights, rate = self.weights.get(family.model), MATRIX.get(self.card)
        if family.part is not CostPart.DENOISE or not weights or not rate:
            return None
        tokens = kind.pixels / PIXELS_A_TOKEN * kind.passes
        return 2 * weights * GIB / HALF_PRECISION * tokens / (rate * REACHED)

    def load_s(self, model: str) -> float | None:
        """Seconds of loading a model."""
        weights = self.weights.get(model)
        return None if weights is None else weights * GIB / READS

    def _others(self, rates: Rates, family: CostFamily, kind: CostKind, memory: str) -> Iterator[float]:
        """What the same takes in other models; a step as much longer as there are more weights to multiply."""
        for other in rates.values:
            alike = (other.part, other.first, other.memory) == (family.part, False, memory)
            ratio = self._ratio(family, other)
            if alike and ratio and (found := rates.find(other, kind)):
                yield found.value * ratio

    def _ratio(self, family: CostFamily, other: CostFamily) -> float | None:
        if family.part is not CostPart.DENOISE or family.model == other.model:
            return 1.0
        mine, others = self.weights.get(family.model), self.weights.get(other.model)
        return mine / others if mine and others else None
