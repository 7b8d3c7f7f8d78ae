"""What a plan is: ordered tasks, how they came about, and what was decided for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.catalogue.model import Model
from batch.plan import alike, measuring
from batch.records.shard import Shard
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.batching import NumericsChoice
    from batch.plan.pins import Pins
    from batch.plan.settings import SizeUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ordered tasks and how they came about."""

    name: str
    kind: str
    """A :class:`~batch.records.kinds.RunKind`; of a folder that does not say it, ""."""
    tasks: tuple[Task, ...]
    models: Mapping[str, Model]
    pins: Pins
    factors: tuple[tuple[tuple[str, ...], int], ...] = ()
    """What multiplies in the grid, axes that move together as one; empty for a table."""
    rows: int = 0
    """Rows of the table, each a grid of its own."""
    cells: int = 0
    """Combinations of the grid or of all rows, before anything is left out."""
    included: int = 0
    excluded: int = 0
    duplicates: int = 0
    repeats: int = 0
    """Of a measurement: how often each picture is measured."""
    pictures: int = 0
    """Of the grid: as many as tasks, save in a measurement, which repeats them."""
    settings: int = 0
    """Of a measurement: each has a fresh process in every pass."""
    sizes: tuple[SizeUse, ...] = ()
    choices: Mapping[str, NumericsChoice] = field(default_factory=dict)
    """Batches and compiling, by :func:`batch.plan.alike.size_name`."""
    new_draws: bool = False
    """Seeds or texts were drawn that are not pinned yet."""
    weights_known: bool = True
    """False while a LoRA or an autoencoder of the Hub is not on this machine."""
    warnings: tuple[str, ...] = ()

    def part(self, shard: Shard | None) -> Plan:
        """What one of several runs renders of it, under a name that says so; None: all of it."""
        if shard is None:
            return self
        return replace(self, name=f"{self.name} (shard {shard})", tasks=shard.part(self.tasks))

    @property
    def passes(self) -> int:
        """Of a measurement: how often every setting has its turn."""
        return min(measuring.PASSES, self.repeats)

    def images_per_call(self, task: Task) -> int:
        """The most images that go into one call of the model with a task."""
        choice = self.choices.get(alike.size_name(task))
        return choice.numerics.batch if choice else 1

    @property
    def ids_known(self) -> bool:
        """False while a revision, LoRA or autoencoder is not known, or a draw is new: ids would change."""
        known = not self.new_draws and self.weights_known
        return known and all(model.stamp for model in self.models.values())
