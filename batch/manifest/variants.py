r"""Prompts with alternatives: ``{red|blue} car``, ``__colour__`` from a list, all of them or some at random.

The grammar is the common part of the dynamic-prompts extensions::

    {a|b|}             one of these; an option may be empty and may hold groups of its own
    {3::a|b}           a weight, for random picks only
    {2$$a|b|c}         two of them, joined with ", "; {1-2$$ and $$a|b|c} one or two, joined with " and "
    __name__           a line of the wildcard of that name; lines may hold groups and wildcards again
    \{ \} \| \_        the characters themselves
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from batch.manifest.limits import COUNTLESS, DEPTH, DIGITS, PROMPT

_TOKEN = re.compile(r"\\[{}|_\\]|__[\w/.-]+?__|[{}|]|[^\\{}|_]+|.", re.DOTALL)
_COUNT = re.compile(r"(\d+)(?:-(\d+))?\$\$(?:(.*?)\$\$)?", re.DOTALL)
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?)::")
_LOOKS = re.compile(r"(?<!\\)\{[^{}|]*\|[^{}]*\}|__[\w/.-]+?__")

_TOO_DEEP = f"groups and wildcards are nested more than {DEPTH} deep"
_TOO_MANY_CHOICES = f"one text takes more than {PROMPT:,} choices"

Wildcards = Callable[[str], Sequence[str]]
"""The lines of a wildcard; raises ValueError when there is none of that name."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    options: tuple[tuple[_Part, ...], ...]
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
        found = [_measure(option) for option in self.options]
        longest = sorted((option.longest for option in found), reverse=True)[: self.high]
        inner = sorted((option.choices for option in found), reverse=True)[: self.high]
        up_to = tuple(itertools.accumulate(self.weights))
        object.__setattr__(self, "count", _ways([option.texts for option in found], self.low, self.high))
        object.__setattr__(self, "longest", sum(longest) + len(self.joiner) * max(0, self.high - 1))
        object.__setattr__(self, "choices", tried + sum(inner))
        object.__setattr__(self, "depth", 1 + max(option.depth for option in found))
        object.__setattr__(self, "_up_to", up_to if up_to[-1] > 0 else ())
        if self.depth > DEPTH:
            raise ValueError(_TOO_DEEP)
        if self.choices > PROMPT:
            raise ValueError(_TOO_MANY_CHOICES)
        if not math.isfinite(up_to[-1]):
            raise ValueError("the weights of a group are too large to be added up")

    def texts(self) -> Iterator[str]:
        for size in range(self.low, self.high + 1):
            for choice in itertools.combinations(self.options, size):
                yield from map(self.joiner.join, itertools.product(*(list(_texts(option)) for option in choice)))

    def pick(self, random: Random) -> str:
        if self.low == self.high == 1:
            return _pick(random.choices(self.options, cum_weights=self._up_to or None)[0], random)
        left = list(range(len(self.options)))
        picked: list[int] = []
        for _ in range(random.randint(self.low, self.high)):
            weights = [self.weights[index] for index in left]
            chosen = random.choices(left, weights if sum(weights) > 0 else None)[0]
            left.remove(chosen)
            picked.append(chosen)
        return self.joiner.join(_pick(self.options[index], random) for index in picked)


_Part = str | _Group


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
    parts: tuple[_Part, ...]

    @property
    def plain(self) -> str | None:
        """The text, where there is no alternative in it at all."""
        return None if any(isinstance(part, _Group) for part in self.parts) else "".join(map(str, self.parts))

    @property
    def extent(self) -> Extent:
        """How much it stands for."""
        return _measure(self.parts)

    def texts(self) -> Iterator[str]:
        """Every text, the last group changing fastest."""
        return (tidy(text) for text in _texts(self.parts))

    def pick(self, random: Random) -> str:
        """One text at random."""
        return tidy(_pick(self.parts, random))


def looks_varied(text: str) -> bool:
    """Whether a text has what this grammar would expand."""
    return _LOOKS.search(text) is not None


class Grammar:
    """Reads templates; a wildcard's lines are read once."""

    def __init__(self, wildcards: Wildcards) -> None:
        self._parser = _Parser(wildcards, (), {})

    def parse(self, text: str) -> Template:
        """Read a template. Raises ``ValueError`` for an open brace, an unknown wildcard, and texts without end."""
        template = Template(text, self._parser.parse(text))
        if template.extent.longest > PROMPT:
            raise ValueError(f"it stands for texts of more than {PROMPT:,} letters")
        return template


def tidy(text: str) -> str:
    """An empty option leaves a double space behind."""
    return re.sub(r" {2,}", " ", text).strip()


@dataclass(frozen=True, slots=True)
class _Parser:
    wildcards: Wildcards
    open: tuple[str, ...]
    """The wildcards being read, outermost first: one inside itself would never end."""
    known: dict[str, _Group]
    depth: int = 0
    """Of groups and wildcards around the text."""

    def parse(self, text: str) -> tuple[_Part, ...]:
        tokens = _TOKEN.findall(text)
        parts, rest = self._sequence(tokens, 0, self.depth)
        if rest < len(tokens):
            raise ValueError("a '}' closes nothing; write \\} for the character itself")
        return parts

    def _sequence(self, tokens: Sequence[str], index: int, depth: int) -> tuple[tuple[_Part, ...], int]:
        if depth > DEPTH:
            raise ValueError(_TOO_DEEP)
        parts: list[_Part] = []
        while index < len(tokens):
            token = tokens[index]
            if token == "}" or (depth > self.depth and token == "|"):
                break
            if token == "{":
                group, index = self._group(tokens, index + 1, depth + 1)
                parts.append(group)
                continue
            if len(token) > 4 and token.startswith("__"):
                name = token[2:-2]
                if name in self.open:
                    raise ValueError(f"the wildcard {token} holds itself ({' → '.join([*self.open, name])})")
                if name not in self.known:
                    inner = _Parser(self.wildcards, (*self.open, name), self.known, depth + 1)
                    options = tuple(inner.parse(line) for line in self.wildcards(name))
                    self.known[name] = _Group(options, (1.0,) * len(options))
                parts.append(self.known[name])
            else:
                parts.append(token[1] if len(token) == 2 and token[0] == "\\" else token)
            index += 1
        return tuple(parts), index

    def _group(self, tokens: Sequence[str], index: int, depth: int) -> tuple[_Group, int]:
        options: list[tuple[_Part, ...]] = []
        while True:
            option, index = self._sequence(tokens, index, depth)
            if index == len(tokens):
                raise ValueError("a '{' is not closed; write \\{ for the character itself")
            options.append(option)
            index += 1
            if tokens[index - 1] == "}":
                return _group(options), index


def _group(options: list[tuple[_Part, ...]]) -> _Group:
    low = high = 1
    joiner = ", "
    # The head of a group may have been cut into tokens at a lone character: join its leading texts.
    texts = tuple(itertools.takewhile(lambda part: isinstance(part, str), options[0]))
    head = "".join(str(part) for part in texts)
    match = _COUNT.match(head)
    if match is not None:
        if max(len(match[1]), len(match[2] or "")) > DIGITS:
            raise ValueError(f"{{{match[0][:20]}… is a number of more than {DIGITS} digits")
        low, high = int(match[1]), int(match[2] or match[1])
        joiner = match[3] if match[3] is not None else joiner
        options[0] = (head[match.end() :], *options[0][len(texts) :])
        if not 0 <= low <= high <= len(options):
            raise ValueError(f"{{{match[0]}…}} asks for {match[0].rstrip('$')} of {len(options)} options")
    weights = [1.0] * len(options)
    for index, option in enumerate(options):
        if option and isinstance(option[0], str) and (weight := _WEIGHT.match(option[0])):
            options[index] = (option[0][weight.end() :], *option[1:])
            weights[index] = float(weight[1])
    return _Group(tuple(options), tuple(weights), low, high, joiner)


def _measure(parts: Sequence[_Part]) -> Extent:
    groups = [part for part in parts if isinstance(part, _Group)]
    count = 1
    for group in groups:
        count = min(count * group.count, COUNTLESS)
    return Extent(
        count,
        sum(len(part) if isinstance(part, str) else part.longest for part in parts),
        sum(group.choices for group in groups),
        max((group.depth for group in groups), default=0),
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


def _texts(parts: Sequence[_Part]) -> Iterator[str]:
    several = ([part] if isinstance(part, str) else list(part.texts()) for part in parts)
    return map("".join, itertools.product(*several))


def _pick(parts: Sequence[_Part], random: Random) -> str:
    return "".join(part if isinstance(part, str) else part.pick(random) for part in parts)
