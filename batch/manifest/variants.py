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

MAX_TEXTS = 1_000_000
"""More texts than this out of one prompt are a mistake."""

MAX_LENGTH = 100_000
"""Letters of one text; lists that name one another soon pass any bound."""

_TOKEN = re.compile(r"\\[{}|_\\]|__[\w/.-]+?__|[{}|]|[^\\{}|_]+|.", re.DOTALL)
_COUNT = re.compile(r"(\d+)(?:-(\d+))?\$\$(?:(.*?)\$\$)?", re.DOTALL)
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?)::")
_LOOKS = re.compile(r"(?<!\\)\{[^{}]*\|[^{}]*\}|__[\w/.-]+?__")

Wildcards = Callable[[str], Sequence[str]]
"""The lines of a wildcard; raises ValueError when there is none of that name."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    options: tuple[tuple[_Part, ...], ...]
    weights: tuple[float, ...]
    low: int = 1
    high: int = 1
    joiner: str = ", "
    # Worked out once: lists that name one another may stand for more texts than anybody could walk through.
    count: int = field(init=False)
    longest: int = field(init=False)

    def __post_init__(self) -> None:
        # The sum over every choice of the product of its options' counts: elementary symmetric polynomials.
        sums = [1] + [0] * self.high
        for number in map(_count, self.options):
            for size in range(self.high, 0, -1):
                sums[size] += sums[size - 1] * number
        object.__setattr__(self, "count", sum(sums[self.low :]))
        longest = sorted((_longest(option) for option in self.options), reverse=True)[: self.high]
        object.__setattr__(self, "longest", sum(longest) + len(self.joiner) * max(0, self.high - 1))

    def texts(self) -> Iterator[str]:
        for size in range(self.low, self.high + 1):
            for choice in itertools.combinations(self.options, size):
                for texts in itertools.product(*(list(_texts(option)) for option in choice)):
                    yield self.joiner.join(texts)

    def pick(self, random: Random) -> str:
        left = list(range(len(self.options)))
        picked: list[int] = []
        for _ in range(random.randint(self.low, self.high)):
            weights = [self.weights[index] for index in left]
            chosen = random.choices(left, weights if sum(weights) > 0 else None)[0]
            left.remove(chosen)
            picked.append(chosen)
        return self.joiner.join(_pick(self.options[index], random) for index in picked)


_Part = str | _Group


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A prompt that stands for several texts."""

    text: str
    parts: tuple[_Part, ...]

    @property
    def plain(self) -> str | None:
        """The text, where there is no alternative in it at all."""
        return None if any(isinstance(part, _Group) for part in self.parts) else "".join(map(str, self.parts))

    def count(self) -> int:
        """How many texts it stands for, equal ones counted each."""
        return _count(self.parts)

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
        """Read a template. Raises ``ValueError`` for an open brace or an unknown wildcard."""
        try:
            parts = self._parser.parse(text)
            if _longest(parts) > MAX_LENGTH:
                raise ValueError(f"it stands for texts of more than {MAX_LENGTH:,} letters")
            return Template(text, parts)
        except RecursionError:
            raise ValueError("groups are nested too deeply") from None


def tidy(text: str) -> str:
    """An empty option leaves a double space behind."""
    return re.sub(r" {2,}", " ", text).strip()


@dataclass(frozen=True, slots=True)
class _Parser:
    wildcards: Wildcards
    open: tuple[str, ...]
    """The wildcards being read, outermost first: one inside itself would never end."""
    known: dict[str, _Group]

    def parse(self, text: str) -> tuple[_Part, ...]:
        tokens = _TOKEN.findall(text)
        parts, rest = self._sequence(tokens, 0, inside=False)
        if rest < len(tokens):
            raise ValueError("a '}' closes nothing; write \\} for the character itself")
        return parts

    def _sequence(self, tokens: Sequence[str], index: int, *, inside: bool) -> tuple[tuple[_Part, ...], int]:
        parts: list[_Part] = []
        while index < len(tokens):
            token = tokens[index]
            if token == "}" or (inside and token == "|"):
                break
            if token == "{":
                group, index = self._group(tokens, index + 1)
                parts.append(group)
                continue
            if len(token) > 4 and token.startswith("__"):
                name = token[2:-2]
                if name in self.open:
                    raise ValueError(f"the wildcard {token} holds itself ({' → '.join([*self.open, name])})")
                if name not in self.known:
                    inner = _Parser(self.wildcards, (*self.open, name), self.known)
                    options = tuple(inner.parse(line) for line in self.wildcards(name))
                    self.known[name] = _Group(options, (1.0,) * len(options))
                parts.append(self.known[name])
            else:
                parts.append(token[1] if len(token) == 2 and token[0] == "\\" else token)
            index += 1
        return tuple(parts), index

    def _group(self, tokens: Sequence[str], index: int) -> tuple[_Group, int]:
        options: list[tuple[_Part, ...]] = []
        while True:
            option, index = self._sequence(tokens, index, inside=True)
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


def _count(parts: Sequence[_Part]) -> int:
    return math.prod(part.count for part in parts if isinstance(part, _Group))


def _longest(parts: Sequence[_Part]) -> int:
    return sum(len(part) if isinstance(part, str) else part.longest for part in parts)


def _texts(parts: Sequence[_Part]) -> Iterator[str]:
    if not parts:
        yield ""
        return
    head, rest = parts[0], parts[1:]
    for text in [head] if isinstance(head, str) else head.texts():
        for tail in _texts(rest):
            yield text + tail


def _pick(parts: Sequence[_Part], random: Random) -> str:
    return "".join(part if isinstance(part, str) else part.pick(random) for part in parts)
