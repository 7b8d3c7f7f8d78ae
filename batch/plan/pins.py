"""What is drawn at random, once: seeds and texts of prompts with alternatives, pinned with the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from random import Random

from batch.catalogue.families import digest
from batch.manifest.alternatives import Template
from batch.manifest.limits import CHOICES
from batch.manifest.schema import Entry, Factor, Grid
from batch.manifest.values import RandomSeeds

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
        self._spare = CHOICES // 10
        """Choices left for texts that had been drawn before."""
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
            Factor(
                factor.names,
                tuple(
                    resolved
                    for row in factor.rows
                    for resolved in product(*(self._entries(entry, prompts) for entry in row))
                ),
            )
            for factor in grid.factors
        ]
        return Grid(tuple(factors), grid.place, grid.kind)

    def _entries(self, entry: Entry, context: str) -> Sequence[Entry]:
        own = entry.own
        if own:
            inner = digest([context, str(_written(entry))])
            own = {
                name: tuple(chain.from_iterable(self._entries(item, inner) for item in entries))
                for name, entries in own.items()
            }
        if isinstance(entry.value, RandomSeeds):
            number = self._drawn.get(context, 0)
            self._drawn[context] = number + 1
            key = f"seed.{context}.{number}" if context else f"seed.{number}"
            seeds, count = tuple(self._pins.seeds.get(key, ())), entry.value.count
            if len(seeds) < count:
                seeds += self._draw(count - len(seeds))
                self.new = True
            self._seeds[key] = seeds
            return [Entry(seed, entry.place) for seed in seeds[:count]]
        if isinstance(entry.value, Template):
            return [Entry(text, entry.place, own) for text in self.texts(entry.value)]
        return [entry if not own else Entry(entry.value, entry.place, own)]

    def texts(self, template: Template) -> Sequence[str]:
        """The texts a template stands for: all of them, or those drawn, which stay whatever becomes of a list."""
        if not self._texts:
            return list(dict.fromkeys(template.texts()))
        known = self._variants.get(template.text) or tuple(self._pins.variants.get(template.text, ()))
        if len(known) < self._texts:
            drawn = dict.fromkeys(known)
            if template.extent.texts <= self._texts:
                drawn |= dict.fromkeys(template.texts())
            else:
                random = Random(self._draw(1)[0])
                for tried in range(_TRIES * self._texts):
                    if tried >= self._texts:
                        self._spare -= template.extent.choices
                    if len(drawn) == self._texts or self._spare < 0:
                        break
                    drawn[template.pick(random)] = None
                self.new |= len(drawn) > len(known)
            known = tuple(drawn)
        self._variants[template.text] = known
        return known[: self._texts]


def _written(entry: Entry) -> object:
    return entry.value.text if isinstance(entry.value, Template) else entry.value
