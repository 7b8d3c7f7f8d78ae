"""Grids to cells: every combination is walked through. What is drawn is drawn already (:mod:`batch.plan.pins`).

Cells come in groups that share a setting (model, size, steps, …); inside a group prompts are walked
through, and for every prompt its seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING

from batch.manifest.alternatives import Template
from batch.manifest.limits import COUNTLESS
from batch.manifest.schema import Entry, Factor, Grid
from batch.manifest.values import RandomSeeds
from batch.plan.alike import PICTURE_AXES

if TYPE_CHECKING:
    from batch.plan.pins import PromptSeed


@dataclass(frozen=True, slots=True)
class PromptSeeds:
    """A prompt with what goes with it, and the seeds it is rendered with, each with its place in their order."""

    entries: Mapping[str, Entry]
    seeds: Sequence[tuple[int, int | PromptSeed | None]]


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells that share a setting."""

    setting: Mapping[str, Entry]
    _seed_at: int
    """Place of the setting's seed in its order, where a zip group holds both."""
    _factors: tuple[Factor, ...]

    def prompts(self) -> Iterator[PromptSeeds]:
        """Every prompt of the setting with its seeds. A seed of None is the default."""
        alone = next((factor for factor in self._factors if factor.names == ("seed",)), None)
        factors = [factor for factor in self._factors if factor is not alone]
        alone_seeds = [(index, row[0].value) for index, row in enumerate(alone.rows)] if alone else []
        names = [name for factor in factors for name in factor.names]
        for rows in product(*(enumerate(factor.rows) for factor in factors)):
            entries = {name: entry for name, entry in self.setting.items() if name in PICTURE_AXES}
            entries |= zip(names, chain.from_iterable(row for _, row in rows), strict=True)
            seeds: Sequence[tuple[int, int | PromptSeed | None]] = alone_seeds
            if alone is None:
                seed = entries.get("seed")
                held = (at for (at, _), factor in zip(rows, factors, strict=True) if "seed" in factor.names)
                seeds = [(next(held, self._seed_at), seed.value if seed else None)]
            yield PromptSeeds(entries, seeds)


def cells(grid: Grid) -> Iterator[Cells]:
    """Every cell of a grid whose random parts are resolved, grouped by setting."""
    for factors in _shapes(grid.factors):
        inner = tuple(factor for factor in factors if PICTURE_AXES.issuperset(factor.names))
        outer = [factor for factor in factors if not PICTURE_AXES.issuperset(factor.names)]
        names = [name for factor in outer for name in factor.names]
        for rows in product(*(enumerate(factor.rows) for factor in outer)):
            setting = dict(zip(names, chain.from_iterable(row for _, row in rows), strict=True))
            seed_at = next((at for (at, _), factor in zip(rows, outer, strict=True) if "seed" in factor.names), 0)
            yield Cells(setting, seed_at, inner)


def combinations(grid: Grid, drawn: int) -> int:
    """How many cells a grid has, with all that its random parts stand for; ``drawn``: texts of a prompt, or 0."""
    return sum(math.prod(_rows(factor, drawn) for factor in shape) for shape in _shapes(grid.factors))


def _rows(factor: Factor, drawn: int) -> int:
    if not {"prompt", "seed"}.intersection(factor.names):
        return len(factor.rows)
    return sum(math.prod([_stands_for(entry.value, drawn) for entry in row]) for row in factor.rows)


def _stands_for(value: object, drawn: int) -> int:
    if isinstance(value, Template):
        return min(value.extent.texts, drawn or COUNTLESS)
    return value.count if isinstance(value, RandomSeeds) else 1


def _shapes(factors: tuple[Factor, ...]) -> Iterator[tuple[Factor, ...]]:
    """The factors as they multiply: a prompt with values of its own makes a product of its own."""
    holder = next((factor for factor in factors if "prompt" in factor.names), None)
    if holder is None:
        yield factors
        return
    column = holder.names.index("prompt")
    plain = tuple(row for row in holder.rows if not row[column].own)
    if plain:
        yield tuple(Factor(holder.names, plain) if factor is holder else factor for factor in factors)
    for row in holder.rows:
        own = row[column].own
        if own:
            single = Factor(holder.names, (row,))
            shared = [_without(single if factor is holder else factor, own) for factor in factors]
            added = [Factor((name,), tuple((entry,) for entry in entries)) for name, entries in own.items()]
            yield (*(factor for factor in shared if factor.names), *added)


def _without(factor: Factor, names: Mapping[str, object]) -> Factor:
    kept = [index for index, name in enumerate(factor.names) if name not in names]
    if len(kept) == len(factor.names):
        return factor
    if not kept:
        return Factor((), ())
    rows = {tuple(id(row[index]) for index in kept): tuple(row[index] for index in kept) for row in factor.rows}
    return Factor(tuple(factor.names[index] for index in kept), tuple(rows.values()))
