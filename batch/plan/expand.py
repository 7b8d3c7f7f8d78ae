"""Grids to cells: what is drawn is drawn and pinned, then every combination is walked through.

Cells come in groups that share a setting (model, size, steps, …); inside a group prompts are walked
through, and for every prompt its seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from random import Random

from batch.catalogue.families import digest
from batch.manifest.schema import Entry, Factor, Grid
from batch.manifest.values import RandomSeeds
from batch.manifest.variants import Template

TEXT_AXES = ("prompt", "negative_prompt", "style")
PICTURE_AXES = frozenset({*TEXT_AXES, "seed"})
"""What differs between the pictures of one setting."""

_TRIES = 100
"""Draws for one more text that is not there yet, before the texts are held to be exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the first run decided and every later one keeps: what was drawn, and resolved revisions."""

    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts drawn of a prompt with alternatives, by the prompt as written."""
    numerics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """``batch`` and ``compile``, each where it was left to ``auto``: see :mod:`batch.plan.batching`."""


class Pinner:
    """Replaces random seeds and prompts with alternatives by what they stand for in this run."""

    def __init__(self, pins: Pins, draw: Callable[[int], tuple[int, ...]], texts: int) -> None:
        self._pins = pins
        self._draw = draw
        self._texts = texts
        self._seeds: dict[str, tuple[int, ...]] = {}
        self._variants: dict[str, tuple[str, ...]] = {}
        self._drawn: dict[str, int] = {}
        self.new = False
        """Something was drawn that was not pinned."""

    def pins(self, revisions: Mapping[str, str]) -> Pins:
        """The earlier pins and what has come to them."""
        return Pins(
            seeds={**self._pins.seeds, **self._seeds},
            revisions={**self._pins.revisions, **revisions},
            variants={**self._pins.variants, **self._variants},
            numerics=self._pins.numerics,
        )

    def resolved(self, grid: Grid) -> Grid:
        """The grid with a row for every seed and every text."""
        prompts = "" if grid.kind == "grid" else digest([str(_written(entry)) for entry in grid.entries("prompt")])
        factors = [
            Factor(factor.names, tuple(chain.from_iterable(self._rows(row, prompts) for row in factor.rows)))
            for factor in grid.factors
        ]
        return Grid(tuple(factors), grid.place, grid.kind)

    def _rows(self, row: tuple[Entry, ...], context: str) -> Iterator[tuple[Entry, ...]]:
        if len(row) == 1:
            return ((entry,) for entry in self._entries(row[0], context))
        return product(*(self._entries(entry, context) for entry in row))

    def _entries(self, entry: Entry, context: str) -> Sequence[Entry]:
        own = entry.own
        if own:
            inner = digest([context, str(_written(entry))])
            own = {
                name: tuple(chain.from_iterable(self._entries(item, inner) for item in entries))
                for name, entries in own.items()
            }
        if isinstance(entry.value, RandomSeeds):
            return [Entry(seed, entry.place) for seed in self._draw_seeds(entry.value.count, context)]
        if isinstance(entry.value, Template):
            return [Entry(text, entry.place, own) for text in self.texts(entry.value)]
        return [entry if not own else Entry(entry.value, entry.place, own)]

    def _draw_seeds(self, count: int, context: str) -> tuple[int, ...]:
        number = self._drawn.get(context, 0)
        self._drawn[context] = number + 1
        key = f"seed.{context}.{number}" if context else f"seed.{number}"
        seeds = tuple(self._pins.seeds.get(key, ()))
        if len(seeds) < count:
            seeds += self._draw(count - len(seeds))
            self.new = True
        self._seeds[key] = seeds
        return seeds[:count]

    def texts(self, template: Template) -> Sequence[str]:
        """The texts a template stands for: all of them, or those drawn, which stay whatever becomes of a list."""
        if not self._texts:
            return list(dict.fromkeys(template.texts()))
        known = self._variants.get(template.text) or tuple(self._pins.variants.get(template.text, ()))
        if len(known) < self._texts:
            drawn = dict.fromkeys(known)
            if template.count() <= self._texts:
                drawn |= dict.fromkeys(template.texts())
            else:
                self._draw_texts(template, drawn)
                self.new |= len(drawn) > len(known)
            known = tuple(drawn)
        self._variants[template.text] = known
        return known[: self._texts]

    def _draw_texts(self, template: Template, drawn: dict[str, None]) -> None:
        random = Random(self._draw(1)[0])
        for _ in range(_TRIES * self._texts):
            drawn[template.pick(random)] = None
            if len(drawn) == self._texts:
                break


def _written(entry: Entry) -> object:
    return entry.value.text if isinstance(entry.value, Template) else entry.value


@dataclass(frozen=True, slots=True)
class Texts:
    """A prompt with what goes with it, and the seeds it is rendered with, each with its place in their order."""

    entries: Mapping[str, Entry]
    seeds: Sequence[tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class Cells:
    """All cells that share a setting."""

    setting: Mapping[str, Entry]
    _seed_at: int
    """Place of the setting's seed in its order, where a zip group holds both."""
    _factors: tuple[Factor, ...]

    def texts(self) -> Iterator[Texts]:
        """Every prompt of the setting with its seeds. A seed of None is the default."""
        alone = next((factor for factor in self._factors if factor.names == ("seed",)), None)
        factors = [factor for factor in self._factors if factor is not alone]
        alone_seeds = [(index, row[0].value) for index, row in enumerate(alone.rows)] if alone else []
        names = [name for factor in factors for name in factor.names]
        for rows in product(*(enumerate(factor.rows) for factor in factors)):
            entries = {name: entry for name, entry in self.setting.items() if name in PICTURE_AXES}
            entries |= zip(names, chain.from_iterable(row for _, row in rows), strict=True)
            seeds: Sequence[tuple[int, int | None]] = alone_seeds
            if alone is None:
                seed = entries.get("seed")
                held = (at for (at, _), factor in zip(rows, factors, strict=True) if "seed" in factor.names)
                seeds = [(next(held, self._seed_at), seed.value if seed else None)]
            yield Texts(entries, seeds)


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
    rows = {tuple(id(row[index]) for index in kept): tuple(row[index] for index in kept) for row in factor.rows}
    return Factor(tuple(factor.names[index] for index in kept), tuple(rows.values()))
