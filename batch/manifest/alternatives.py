"""What a prompt with alternatives is made of: counted when it is put together, expanded when it is asked."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from batch.manifest.limits import COUNTLESS, DEPTH, PROMPT

TOO_DEEP = f"groups and wildcards are nested more than {DEPTH} deep"
_TOO_MANY_CHOICES = f"one text takes more than {PROMPT:,} choices"


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where the text of a variable stands that has been chosen once."""

    longest: int
    count: int = 1
    choices: int = 0
    depth: int = 0

    def texts(self, held: Held) -> Iterator[str]:
        """The one that was chosen."""
        yield held[self]

    def pick(self, random: Random, held: Held) -> str:  # noqa: ARG002 - as the others do
        """The same."""
        return held[self]


Held = Mapping[Slot, str]
"""The texts of variables as they have been chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Some of its options, joined."""

    options: tuple[Parts, ...]
    weights: tuple[float, ...]
    low: int = 1
    high: int = 1
    joiner: str = ", "
    # Worked out once: lists that name one another may stand for more than anybody could walk through.
    count: int = field(init=False)
    """Of texts, up to ``COUNTLESS``."""
    longest: int = field(init=False)
    """Letters of the longest text."""
    choices: int = field(init=False)
    """At most so many are made for a text that is drawn."""
    depth: int = field(init=False)
    _up_to: tuple[float, ...] = field(init=False)
    """The weights summed up; empty where none is above zero, and all are alike."""

    def __post_init__(self) -> None:
        tried = 1 if self.high == 1 else self.high * len(self.options)
        if tried > PROMPT:
            raise ValueError(_TOO_MANY_CHOICES)
        found = [measure(option) for option in self.options]
        longest = sorted((option.longest for option in found), reverse=True)[: self.high]
        inner = sorted((option.choices for option in found), reverse=True)[: self.high]
        up_to = tuple(itertools.accumulate(self.weights))
        object.__setattr__(self, "count", _ways([option.texts for option in found], self.low, self.high))
        object.__setattr__(self, "longest", sum(longest) + len(self.joiner) * max(0, self.high - 1))
        object.__setattr__(self, "choices", tried + sum(inner))
        object.__setattr__(self, "depth", 1 + max(option.depth for option in found))
        object.__setattr__(self, "_up_to", up_to if up_to[-1] > 0 else ())
        if self.depth > DEPTH:
            raise ValueError(TOO_DEEP)
        if self.choices > PROMPT:
            raise ValueError(_TOO_MANY_CHOICES)
        if not math.isfinite(up_to[-1]):
            raise ValueError("the weights of a group are too large to be added up")

    def texts(self, held: Held) -> Iterator[str]:
        """Every text, those of the last option changing fastest."""
        for size in range(self.low, self.high + 1):
            for choice in itertools.combinations(self.options, size):
                several = [list(texts(option, held)) for option in choice]
                yield from map(self.joiner.join, itertools.product(*several))

    def pick(self, random: Random, held: Held) -> str:
        """One text at random."""
        if self.low == self.high == 1:
            return pick(random.choices(self.options, cum_weights=self._up_to or None)[0], random, held)
        left = list(range(len(self.options)))
        picked: list[int] = []
        for _ in range(random.randint(self.low, self.high)):
            weights = [self.weights[index] for index in left]
            chosen = random.choices(left, weights if sum(weights) > 0 else None)[0]
            left.remove(chosen)
            picked.append(chosen)
        return self.joiner.join(pick(self.options[index], random, held) for index in picked)


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A text in which a variable has one value throughout."""

    slot: Slot
    value: Group
    inside: Parts
    count: int = field(init=False)
    longest: int = field(init=False)
    choices: int = field(init=False)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        found = measure(self.inside)
        object.__setattr__(self, "count", min(self.value.count * found.texts, COUNTLESS))
        object.__setattr__(self, "longest", found.longest)
        object.__setattr__(self, "choices", self.value.choices + found.choices)
        object.__setattr__(self, "depth", 1 + max(self.value.depth, found.depth))
        if self.depth > DEPTH:
            raise ValueError(TOO_DEEP)
        if self.choices > PROMPT:
            raise ValueError(_TOO_MANY_CHOICES)

    def texts(self, held: Held) -> Iterator[str]:
        """Every text, value after value."""
        for value in self.value.texts(held):
            yield from texts(self.inside, {**held, self.slot: value})

    def pick(self, random: Random, held: Held) -> str:
        """One text at random."""
        return pick(self.inside, random, {**held, self.slot: self.value.pick(random, held)})


Part = str | Group | Chosen | Slot
Parts = tuple[Part, ...]


class Extent(NamedTuple):
    """How much a template stands for, known before any of it is made."""

    texts: int
    """Equal ones counted each, up to ``COUNTLESS``."""
    longest: int
    """Letters of the longest."""
    choices: int
    """Made at most for a text that is drawn."""
    depth: int
    """Of groups and wildcards inside one another."""


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A prompt that stands for several texts."""

    text: str
    parts: Parts

    @property
    def plain(self) -> str | None:
        """The text, where there is no alternative in it at all."""
        return plain(self.parts)

    @property
    def extent(self) -> Extent:
        """How much it stands for."""
        return measure(self.parts)

    def texts(self) -> Iterator[str]:
        """Every text, the last group changing fastest."""
        return (tidy(text) for text in texts(self.parts, {}))

    def pick(self, random: Random) -> str:
        """One text at random."""
        return tidy(pick(self.parts, random, {}))


def tidy(text: str) -> str:
    """An empty option leaves a double space behind."""
    return re.sub(r" {2,}", " ", text).strip()


def plain(parts: Parts) -> str | None:
    """Their text, where they hold no alternative."""
    return "".join(map(str, parts)) if all(isinstance(part, str) for part in parts) else None


def measure(parts: Parts) -> Extent:
    """How much parts that follow one another stand for."""
    inner = [part for part in parts if not isinstance(part, str)]
    count = 1
    for part in inner:
        count = min(count * part.count, COUNTLESS)
    return Extent(
        count,
        sum(len(part) if isinstance(part, str) else part.longest for part in parts),
        sum(part.choices for part in inner),
        max((part.depth for part in inner), default=0),
    )


def _ways(counts: Sequence[int], low: int, high: int) -> int:
    """The sum over every choice of the product of its counts: elementary symmetric polynomials."""
    if low == high == 1:
        return min(sum(counts), COUNTLESS)
    sums = [1] + [0] * high
    for number in counts:
        for size in range(high, 0, -1):
            sums[size] = min(sums[size] + sums[size - 1] * number, COUNTLESS)
    return min(sum(sums[low:]), COUNTLESS)


def texts(parts: Parts, held: Held) -> Iterator[str]:
    """Every text that parts that follow one another stand for."""
    several = ([part] if isinstance(part, str) else list(part.texts(held)) for part in parts)
    return map("".join, itertools.product(*several))


def pick(parts: Parts, random: Random, held: Held) -> str:
    """One of their texts at random."""
    return "".join(part if isinstance(part, str) else part.pick(random, held) for part in parts)
