r"""Prompts with alternatives: ``{red|blue} car``, ``__colour__`` from a list, all of them or some at random.

The grammar is that of sd-dynamic-prompts::

    {a|b|}             one of these; an option may be empty and may hold groups of its own
    {3::a|b}           a weight, for random picks only; a line of a wildcard may begin with one, too
    {2$$a|b|c}         two of them, joined with ", "; {1-2$$ and $$a|b|c} one or two, joined with " and ";
                       {2-$$…} two or more, {-2$$…} one or two; of more than there are, all
    __name__           a line of the wildcard of that name; lines may hold groups and wildcards again
    __hats/*__         a line of any wildcard whose name fits
    {2$$__name__}      two different lines
    ${v={a|b}} ${v}    a variable, chosen anew wherever it stands; with ``=!`` once; with ``?=`` if it is not set
    ${v:c}             "c" where it is not set
    # …                a comment: a line of its own, or up to the end of the line behind a text; ``//``, ``/* */``
    \{ \} \| \_ \# \$  the characters themselves

What that grammar has besides (parameters, ways of sampling, wrapping) is an error: none of it is left in a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from batch.manifest.alternatives import TOO_DEEP, Chosen, Group, Part, Parts, Slot, Template, plain
from batch.manifest.document import Place
from batch.manifest.limits import DEPTH, PROMPT, TASKS, VARIABLES
from batch.manifest.values import shortened
from batch.manifest.variant_tokens import (
    SAMPLERS,
    TOKEN,
    VARIABLE,
    WEIGHT,
    bounds,
    closing,
    opens,
    uncommented,
    wildcard_name,
)  # fmt: skip


class WildcardLine(NamedTuple):
    """A line of a wildcard. A ``weight`` of None stands before the text, or is 1."""

    text: str
    place: Place
    weight: float | None = None


Wildcards = Callable[[str], Sequence[WildcardLine]]
"""The lines of a wildcard, or of all that fit a pattern; raises ValueError when there is none."""


class _Elsewhere(ValueError):  # noqa: N818 - it is what it says
    """Wrong in a line of a wildcard: it says itself where that is."""


class Grammar:
    """Reads templates; a wildcard's lines are read once."""

    def __init__(self, wildcards: Wildcards) -> None:
        self._shared = _Shared(wildcards)

    def parse(self, text: str) -> Template:
        """Read a template. Raises ``ValueError`` for an open brace, an unknown wildcard, and texts without end."""
        template = Template(text, _Parser(self._shared).parse(text))
        if template.extent.longest > PROMPT:
            raise ValueError(f"it stands for texts of more than {PROMPT:,} letters")
        return template


_Variables = Mapping[str, Part]


@dataclass(slots=True)
class _Shared:
    """What all templates of a grammar have in common."""

    wildcards: Wildcards
    known: dict[str, Group] = field(default_factory=dict)
    """Wildcards in which no variable stands that is set around them."""
    listed: dict[tuple[str, Group], Group] = field(default_factory=dict)
    """Groups of several lines of one of these, by the head of the group."""
    asked: int = 0
    """How often it mattered which variables are set."""
    again: int = 0
    """Lines read for one text alone, since variables stand in them."""


@dataclass(frozen=True, slots=True)
class _Parser:
    shared: _Shared
    open: tuple[str, ...] = ()
    """The wildcards being read, outermost first: one inside itself would never end."""
    depth: int = 0
    """Of groups and wildcards around the text."""
    variables: _Variables = field(default_factory=dict)
    scope: int = 0
    """Stands for all that is set."""
    own: dict[tuple[str, int], Group] = field(default_factory=dict)
    """Wildcards as they read in the scopes of this text."""
    scopes: dict[tuple[int, str, Part], int] = field(default_factory=dict)
    """What a scope becomes with one variable more."""

    def parse(self, text: str) -> Parts:
        tokens = TOKEN.findall(text)
        inside, tokens, chosen = self._assigned(tokens) if "${" in text and "=" in text else (self, tokens, [])
        parts, rest = inside._sequence(tokens, 0, self.depth)
        if rest < len(tokens):
            raise ValueError("a '}' closes nothing; write \\} for the character itself")
        for slot, value in reversed(chosen):
            parts = (Chosen(slot, value, parts),)
        return parts

    def _assigned(self, tokens: Sequence[str]) -> tuple[_Parser, list[str], list[tuple[Slot, Group]]]:
        """The parser in which they are set, the tokens without what sets them, and those chosen once."""
        kept: list[str] = []
        chosen: list[tuple[Slot, Group]] = []
        variables = dict(self.variables)
        inside = replace(self, variables=variables)
        level = index = 0
        while index < len(tokens):
            token = tokens[index]
            index += 1
            match = VARIABLE.fullmatch(token) if level == 0 else None
            if match is None or "=" not in match[3]:
                kept.append(token)
                level += opens(token)
                continue
            end = closing(tokens, index)
            parts = inside._value(tokens[index:end], token)
            index = end + 1
            name, keeps, sign = match.groups()
            self.shared.asked += bool(keeps)
            if keeps and name in variables:
                continue
            text = plain(parts)
            if text is not None:
                variables[name] = text
            elif sign == "=":
                variables[name] = Group((parts,), (1.0,))
            else:
                group = Group((parts,), (1.0,))
                variables[name] = slot = Slot(group.longest)
                chosen.append((slot, group))
            if len(variables) > VARIABLES:
                raise ValueError(f"it sets more than {VARIABLES:,} variables")
            scope = self.scopes.setdefault((inside.scope, name, variables[name]), len(self.scopes) + 1)
            inside = replace(inside, scope=scope)
        return inside, kept, chosen

    def _value(self, tokens: Sequence[str], token: str) -> Parts:
        parts, rest = self._sequence(tokens, 0, self.depth + 1)
        if rest < len(tokens):
            raise ValueError(f"alternatives of a variable stand in braces: {token}{{a|b}}}}")
        if sum(len(part) for part in parts if isinstance(part, str)) > PROMPT:
            raise ValueError(f"it stands for texts of more than {PROMPT:,} letters")
        return _stripped(parts, always=True)

    def _sequence(self, tokens: Sequence[str], index: int, depth: int) -> tuple[Parts, int]:
        if depth > DEPTH:
            raise ValueError(TOO_DEEP)
        parts: list[Part] = []
        while index < len(tokens):
            token = tokens[index]
            if token == "}" or (depth > self.depth and token == "|"):
                break
            if token[0] == "{":
                group, index = self._group(tokens, index, depth + 1)
                parts.append(group)
                continue
            if token[:2] in ("${", "%{"):
                value, index = self._variable(tokens, index, depth + 1)
                parts += value
                continue
            if token[:2] == "__":
                parts.append(self._wildcard(token, depth))
            else:
                parts.append(token[1] if len(token) == 2 and token[0] == "\\" else token)
            index += 1
        return tuple(parts), index

    def _group(self, tokens: Sequence[str], index: int, depth: int) -> tuple[Group, int]:
        head = tokens[index]
        options: list[Parts] = []
        listed = self._listed(tokens, index, depth) if len(head) > 1 else None
        if listed is not None:
            return listed, closing(tokens, index + 1) + 1
        if tokens[index + 1 : index + 2] and tokens[index + 1].lstrip()[:1] in tuple("~@!"):
            raise ValueError(f"{{{shortened(tokens[index + 1])}: {SAMPLERS.format(chr(92), '~')}")
        while True:
            option, index = self._sequence(tokens, index + 1, depth)
            if index == len(tokens):
                raise ValueError("a '{' is not closed; write \\{ for the character itself")
            options.append(_stripped(option))
            if tokens[index] == "}":
                return _bounded(*_weighed(options), head), index + 1

    def _listed(self, tokens: Sequence[str], index: int, depth: int) -> Group | None:
        """A group in which a wildcard is all that stands: its lines are the options."""
        inside = [token for token in tokens[index + 1 : closing(tokens, index + 1)] if not token.isspace()]
        if len(inside) != 1 or not inside[0].startswith("__"):
            return None
        before = self.shared.asked
        found = self._wildcard(inside[0], depth)
        key = tokens[index], found
        listed = self.shared.listed.get(key) or _bounded(found.options, found.weights, tokens[index])
        if self.shared.asked == before:
            self.shared.listed[key] = listed
        return listed

    def _variable(self, tokens: Sequence[str], index: int, depth: int) -> tuple[Parts, int]:
        token = tokens[index]
        match = VARIABLE.fullmatch(token)
        if match is None:
            what = "wrapping with %{…}" if token[0] == "%" else "this use of ${…}"
            raise ValueError(f"{what} is not understood here; write \\{token[0]} for the character itself")
        name, _, sign = match.groups()
        if "=" in sign:
            raise ValueError(f"{token}…}} sets a variable inside braces; set it before them")
        index += 1
        otherwise: Parts | None = None
        if sign == ":":
            end = closing(tokens, index)
            otherwise = replace(self, depth=depth - 1)._value(tokens[index:end], token)
            index = end + 1
        self.shared.asked += 1
        if name in self.variables:
            return (self.variables[name],), index
        if otherwise is None:
            raise ValueError(f"${{{name}}} is not set; write ${{{name}={{a|b}}}} before it")
        return otherwise, index

    def _wildcard(self, token: str, depth: int) -> Group:
        name = wildcard_name(token)
        if name in self.open:
            raise ValueError(f"the wildcard {token} holds itself ({' → '.join([*self.open, name])})")
        if name in self.shared.known:
            return self.shared.known[name]
        under = name, self.scope
        if under in self.own:
            self.shared.asked += 1
            return self.own[under]
        before = self.shared.asked
        found = self._lines(name, depth)
        if self.shared.asked == before:
            self.shared.known[name] = found
            return found
        self.own[under] = found
        self.shared.again += len(found.options)
        if self.shared.again > TASKS:
            raise ValueError(f"lines with variables are read anew for each prompt, more than {TASKS:,} so far")
        return found

    def _lines(self, name: str, depth: int) -> Group:
        inner = replace(self, open=(*self.open, name), depth=depth + 1)
        options: list[Parts] = []
        weights: list[float] = []
        for line in self.shared.wildcards(name):
            weight = WEIGHT.match(line.text) if line.weight is None else None
            text = line.text[weight.end() :] if weight else line.text
            try:
                options.append(inner.parse(uncommented(text)))
            except _Elsewhere:
                raise
            except ValueError as error:
                raise _Elsewhere(f"{line.place}: {error}") from None
            weights.append(float(weight[1]) if weight else line.weight if line.weight is not None else 1.0)
        return Group(tuple(options), tuple(weights))


def _bounded(options: tuple[Parts, ...], weights: tuple[float, ...], head: str) -> Group:
    """As many options as the head of a group says; of more than there are, all."""
    low, high, joiner = bounds(head)
    most = len(options)
    return Group(options, weights, min(low, most), most if high is None else min(high, most), joiner)


def _weighed(options: list[Parts]) -> tuple[tuple[Parts, ...], tuple[float, ...]]:
    """Options without the weights before them, and these."""
    weights = [1.0] * len(options)
    for index, option in enumerate(options):
        if option and isinstance(option[0], str) and (weight := WEIGHT.match(option[0])):
            options[index] = (option[0][weight.end() :], *option[1:])
            weights[index] = float(weight[1])
    return tuple(options), tuple(weights)


def _stripped(parts: Parts, *, always: bool = False) -> Parts:
    """Without the spaces at both ends: of a group that is written over several lines."""
    found = list(parts)
    if found and isinstance(found[0], str):
        short = found[0].lstrip()
        found[0] = short if always or "\n" in found[0][: len(found[0]) - len(short)] else found[0]
    if found and isinstance(found[-1], str):
        short = found[-1].rstrip()
        found[-1] = short if always or "\n" in found[-1][len(short) :] else found[-1]
    return tuple(found)
