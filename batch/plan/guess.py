"""What an image of a model that was never rendered here may take, by how much there is to compute. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from batch.catalogue import pag
from batch.memory.steps import OFFLOADS
from batch.plan.rates import Part

if TYPE_CHECKING:
    from batch.plan.rates import Family, Kind, Rates
    from batch.records.tasks import Task

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

    def step_s(self, task: Task, sources: tuple[Rates, ...]) -> float | None:
        """Seconds of a step: as fast as other models are here, else as the data sheet says; None: no idea."""
        work = self._work(task.model, task.rendered_width * task.rendered_height, pag.passes(task))
        if work is None:
            return None
        speeds = [speed for rates in sources for speed in self._speeds(rates)]
        speed = median(speeds) if speeds else MATRIX.get(self.card, 0.0) * REACHED
        return work / speed if speed else None

    def load_s(self, task: Task) -> float | None:
        """Seconds of loading the model."""
        weights = self.weights.get(task.model)
        return None if weights is None else weights * GIB / READS

    def _work(self, model: str, pixels: int, passes: int) -> float | None:
        """FLOPs of a call of the model: every weight multiplies every token."""
        weights = self.weights.get(model)
        if not weights or not pixels:
            return None
        return 2 * weights * GIB / HALF_PRECISION * pixels / PIXELS_A_TOKEN * passes

    def _speeds(self, rates: Rates) -> Iterator[float]:
        """FLOPs a second that models reach here which stay on the device."""
        for family, kinds in rates.values.items():
            if family.part is not Part.DENOISE or family.first or _is_moved(family):
                continue
            for kind, values in kinds.items():
                work = self._speed_of(family, kind)
                if work and (seconds := median(values)) > 0:
                    yield work / seconds

    def _speed_of(self, family: Family, kind: Kind) -> float | None:
        return self._work(family.model, kind.pixels, kind.passes)


def _is_moved(family: Family) -> bool:
    """Whether weights go to and fro; of ``auto`` it is not known."""
    return "auto" in family.memory or any(name in family.memory for name in OFFLOADS)
