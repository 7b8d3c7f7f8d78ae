"""The order of letters on a line where writing runs both ways: Unicode's bidirectional algorithm (UAX 9).

Levels come from the letters alone. What would turn them round by a command (embeddings, overrides, isolates) is
not in the texts that are drawn: :func:`batch.report.lettering.lines.clean` has taken it out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

import regex

_RIGHT_TO_LEFT = regex.compile(r"[\p{Bidi_Class=R}\p{Bidi_Class=AL}\p{Bidi_Class=AN}]")
_NEUTRAL = {"B", "S", "WS", "ON"}


def base_level(text: str) -> int:
    """1 where the first letter that has a direction runs from right to left, else 0."""
    for letter in text:
        kind = _kind(letter)
        if kind in ("L", "R", "AL"):
            return 0 if kind == "L" else 1
    return 0


def levels_of(text: str, base: int | None = None) -> tuple[int, ...]:
    """The level of each letter of a paragraph: even ones run to the right, odd ones to the left.

    ``base`` is that of the paragraph, and its first letter with a direction decides where it is None.
    """
    base = base_level(text) if base is None else base
    if not base and _RIGHT_TO_LEFT.search(text) is None:
        return (0,) * len(text)
    kinds = [_kind(letter) for letter in text]
    places = [index for index, kind in enumerate(kinds) if kind != "BN"]
    solved = _solved([text[index] for index in places], [kinds[index] for index in places], base)
    levels, last = [base] * len(text), base
    known = dict(zip(places, solved, strict=True))
    for index in range(len(text)):  # what is not seen goes with what is before it
        last = levels[index] = known.get(index, last)
    return tuple(levels)


def in_order(levels: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Pieces of one level as they stand on a line from left to right: beginning, end, level."""
    pieces: list[tuple[int, int, int]] = []
    start = 0
    for level, group in groupby(levels):
        end = start + len(list(group))
        pieces.append((start, end, level))
        start = end
    for turned in range(max(levels, default=0), 0, -1):
        pieces = list(_turned(pieces, turned))
    yield from pieces


def _turned(pieces: list[tuple[int, int, int]], level: int) -> Iterator[tuple[int, int, int]]:
    for deep, group in groupby(pieces, key=lambda piece: piece[2] >= level):
        found = list(group)
        yield from reversed(found) if deep else found


@cache
def _kind(letter: str) -> str:
    return unicodedata.bidirectional(letter) or "L"


def _solved(letters: Sequence[str], kinds: list[str], base: int) -> list[int]:
    outside = "R" if base else "L"
    originals = list(kinds)
    _weak(kinds, outside)
    _brackets(letters, originals, kinds, outside)
    _neutral(kinds, outside)
    rise = {"L": 0, "R": 1, "EN": 2, "AN": 2} if base == 0 else {"L": 1, "R": 0, "EN": 1, "AN": 1}
    return [base + rise[kind] for kind in kinds]


def _weak(kinds: list[str], outside: str) -> None:
    """W1 to W7."""
    before = strong = outside
    for index, kind in enumerate(kinds):
        if kind == "NSM":
            kind = before  # noqa: PLW2901 - as the rules have it
        before = kind
        if kind in ("L", "R", "AL"):
            strong = kind
        kinds[index] = "AN" if kind == "EN" and strong == "AL" else "R" if kind == "AL" else kind
    for index in range(1, len(kinds) - 1):
        around = kinds[index - 1]
        if around == kinds[index + 1] and (kinds[index], around) in (("ES", "EN"), ("CS", "EN"), ("CS", "AN")):
            kinds[index] = around
    _terminators(kinds)
    strong = outside
    for index, kind in enumerate(kinds):
        if kind in ("L", "R"):
            strong = kind
        elif kind == "EN" and strong == "L":
            kinds[index] = "L"


def _terminators(kinds: list[str]) -> None:
    """W5 and W6: signs beside a number belong to it."""
    start = 0
    for kind, group in groupby(list(kinds)):
        end = start + len(list(group))
        if kind == "ET":
            beside = {kinds[start - 1] if start else "", kinds[end] if end < len(kinds) else ""}
            kinds[start:end] = ["EN" if "EN" in beside else "ON"] * (end - start)
        elif kind in ("ES", "CS"):
            kinds[start:end] = ["ON"] * (end - start)
        start = end


def _brackets(letters: Sequence[str], originals: Sequence[str], kinds: list[str], outside: str) -> None:
    """N0: both brackets of a pair have the direction of what they hold, or of what is around them."""
    for start, end in _pairs(letters, kinds):
        inside = {_direction(kind) for kind in kinds[start + 1 : end]} - {""}
        if not inside:
            continue
        if outside not in inside:
            before = next((found for kind in reversed(kinds[:start]) if (found := _direction(kind))), outside)
            toward = before if before != outside else outside
        else:
            toward = outside
        for place in (start, end):
            kinds[place] = toward
            for after in range(place + 1, len(kinds)):  # marks on a bracket
                if originals[after] != "NSM":
                    break
                kinds[after] = toward


_BRACKETS_DEEP = 63


def _pairs(letters: Sequence[str], kinds: Sequence[str]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    opened: list[tuple[str, int]] = []
    for index, letter in enumerate(letters):
        if kinds[index] != "ON":
            continue
        if closing := _closing(letter):
            if len(opened) == _BRACKETS_DEEP:
                break
            opened.append((closing, index))
        elif unicodedata.category(letter) == "Pe":
            same = unicodedata.normalize("NFC", letter)
            for depth in range(len(opened) - 1, -1, -1):
                if opened[depth][0] == same:
                    found.append((opened[depth][1], index))
                    del opened[depth:]
                    break
    return sorted(found)


@cache
def _closing(letter: str) -> str:
    """What closes an opening bracket: the next mirrored sign, or the one behind it; "" where it is none."""
    if unicodedata.category(letter) != "Ps" or not unicodedata.mirrored(letter):
        return ""
    for step in (1, 2):
        other = chr(ord(letter) + step)
        if unicodedata.category(other) == "Pe" and unicodedata.mirrored(other):
            return unicodedata.normalize("NFC", other)
    return ""


def _direction(kind: str) -> str:
    return "L" if kind == "L" else "R" if kind in ("R", "EN", "AN") else ""


def _neutral(kinds: list[str], outside: str) -> None:
    """N1 and N2."""
    start = 0
    for neutral, group in groupby(list(kinds), key=lambda kind: kind in _NEUTRAL):
        end = start + len(list(group))
        if neutral:
            before = _direction(kinds[start - 1]) if start else outside
            after = _direction(kinds[end]) if end < len(kinds) else outside
            kinds[start:end] = [before if before == after else outside] * (end - start)
        start = end
