"""What is drawn at random, once: seeds and texts of prompts with alternatives, pinned with the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, count, product
from random import Random

from batch.catalogue.families import digest
from batch.manifest.alternatives import Template
from batch.manifest.limits import CHOICES
from batch.manifest.schema import Entry, Factor, Grid
from batch.manifest.values import RandomSeeds

_TRIES = 100
"""Draws for one more text that is not there yet, before the texts are held to be exhausted."""

_OF_PROMPTS = "seed.prompts"
"""Under which it is pinned what the seeds of prompts are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the first run decided and every later one keeps: what was drawn, and resolved revisions."""

    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts drawn of a prompt with alternatives, by the prompt as written."""
    begun: str = ""
    """When the first run began, on this machine's clock: ISO 8601. For the names of its images."""
    numerics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """``batch`` and ``compile``, each where it was left to ``auto``: see :mod:`batch.plan.batching`."""


@dataclass(frozen=True, slots=True)
class PromptSeed:
    """One of the seeds that every prompt has of its own: made of its text and of what is drawn once for the run.

    So nothing has to be kept of a prompt, and what becomes of the others does not touch its seeds.
    """

    drawn: int
    stream: int
    """Which ``{random: n, per: prompt}`` of a list this is."""
    index: int
    """Which of its ``n``."""

    def of(self, prompt: str) -> int:
        """The seed; two of one prompt and stream are never the same."""
        digest = sha256(f"{self.drawn}.{self.stream}.{prompt}".encode("utf-8", "surrogatepass")).digest()
        first, step = int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big") | 1
        return (first + self.index * step) % 2**32


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
            begun=self._pins.begun,
            numerics=self._pins.numerics,
        )

    def resolved(self, grid: Grid) -> Grid:
        """The grid with a row for every seed and every text."""
        context = self._context(grid)
        factors = tuple(Factor(factor.names, tuple(self._rows(factor, context))) for factor in grid.factors)
        return Grid(factors, grid.place, grid.kind)

    def _context(self, grid: Grid) -> str:
        """What the seeds of a grid are kept under: they stay when other grids come, and when its prompts change.

        A row has one prompt that tells it from others; an entry of ``include`` with several, its other axes.
        """
        if grid.kind == "grid":
            return ""
        prompts = [str(_written(entry)) for entry in grid.entries("prompt")]
        by_prompts = digest(prompts)
        if len(prompts) == 1 or f"seed.{by_prompts}.0" in self._pins.seeds:
            return by_prompts
        others = [name for name in grid.names() if name not in ("prompt", "seed")]
        return digest([[name, [str(entry.value) for entry in grid.entries(name)]] for name in sorted(others)])

    def _rows(self, factor: Factor, prompts: str) -> Iterator[tuple[Entry, ...]]:
        streams = count()
        for row in factor.rows:
            if "prompt" in factor.names:  # else a seed would hang on its prompt's place among the others
                streams = count()
            yield from product(*(self._entries(entry, prompts, streams) for entry in row))

    def _entries(self, entry: Entry, context: str, streams: Iterator[int]) -> Sequence[Entry]:
        own = entry.own
        if own:
            inner = digest([context, str(_written(entry))])
            own = {name: self._own(entries, inner) for name, entries in own.items()}
        if isinstance(entry.value, RandomSeeds) and entry.value.per_prompt:
            stream, drawn = next(streams), self._of_prompts()
            return [Entry(PromptSeed(drawn, stream, index), entry.place) for index in range(entry.value.count)]
        if isinstance(entry.value, RandomSeeds):
            number = self._drawn.get(context, 0)
            self._drawn[context] = number + 1
            key = f"seed.{context}.{number}" if context else f"seed.{number}"
            return [Entry(seed, entry.place) for seed in self._drawn_seeds(key, entry.value.count)]
        if isinstance(entry.value, Template):
            return [Entry(text, entry.place, own, entry.value.text) for text in self.texts(entry.value)]
        return [entry if not own else Entry(entry.value, entry.place, own)]

    def _own(self, entries: Sequence[Entry], context: str) -> tuple[Entry, ...]:
        streams = count()
        return tuple(chain.from_iterable(self._entries(item, context, streams) for item in entries))

    def _drawn_seeds(self, key: str, wanted: int) -> tuple[int, ...]:
        seeds = tuple(self._pins.seeds.get(key, ()))
        if len(seeds) < wanted:
            seeds += self._draw(wanted - len(seeds))
            self.new = True
        self._seeds[key] = seeds
        return seeds[:wanted]

    def _of_prompts(self) -> int:
        """What all seeds of prompts are made of."""
        if _OF_PROMPTS in self._seeds:
            return self._seeds[_OF_PROMPTS][0]
        return self._drawn_seeds(_OF_PROMPTS, 1)[0]

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
