"""Lines of text: what is on each, how wide it is, and how it is drawn, whatever fonts and directions it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import regex
from PIL import Image, ImageDraw

from batch.report.lettering import bidi
from batch.report.lettering.fonts import draw_piece, face_for, shipped, width_of

if TYPE_CHECKING:
    from batch.report.lettering.fonts import Colour, Face

_COMMANDS = regex.compile("[\u202a-\u202e\u2066-\u2069\ufeff]")
"""What turns the order of letters round without being seen."""
_NO_LETTERS = regex.compile(r"[\p{Cc}\p{Cs}]")
_MARKS = regex.compile(r"(\p{Mn}{4})\p{Mn}+")
"""More marks on one letter than any language has would be drawn over other lines."""

_CLUSTERS = regex.compile(r"\X")
_TOKENS = regex.compile(r" +|(?:[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*[\p{Pe}\p{Pf}、。，．・：；？！ー々]*)|"
                        r"(?:(?![ \p{Han}\p{Hiragana}\p{Katakana}])\X)+")  # fmt: skip
"""What stays together on a line: blanks, a letter of a script without them, a word."""

ELLIPSIS = "…"


def clean(text: str) -> str:
    """A text as it is drawn: on one line, without commands, a sign in place of what is no letter."""
    text = " ".join(_COMMANDS.sub("", text).split())
    return str(_MARKS.sub(r"\1", _NO_LETTERS.sub("\ufffd", text)))


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line and the level of each of its letters, which those around it have decided, too."""

    text: str
    levels: tuple[int, ...]
    base: int = 0
    """Odd where its paragraph runs from right to left."""

    def width(self, size: int) -> float:
        """In pixels."""
        return sum(width_of(text, face, size, level) for text, face, level in self._pieces())

    def draw(self, page: Image.Image, at: tuple[float, float], size: int, colour: Colour) -> None:
        """Write it; ``at`` is the left end of its base line."""
        x, y = at
        for text, face, level in self._pieces():
            draw_piece(page, (x, y), text, face, size, colour, level)
            x += width_of(text, face, size, level)

    def part(self, start: int, end: int) -> TextLine:
        """From one letter to another, without the blanks at its end."""
        text = self.text[start:end].rstrip(" ")
        return TextLine(text, self.levels[start : start + len(text)], self.base)

    def followed(self, text: str) -> TextLine:
        """With some letters of the paragraph's direction behind it."""
        return TextLine(self.text + text, self.levels + (self.base,) * len(text), self.base)

    def _pieces(self) -> Iterator[tuple[str, Face, int]]:
        """Pieces of one font and one level, from left to right."""
        if self.text.isascii() and not any(self.levels):
            yield self.text, shipped(), 0
            return
        for start, end, level in bidi.in_order(self.levels):
            clusters = _CLUSTERS.findall(self.text[start:end])
            pieces = [("".join(group), face, level) for face, group in groupby(clusters, face_for)]
            yield from reversed(pieces) if level % 2 else pieces


def paragraph(text: str) -> TextLine:
    """All of a text on one line."""
    return TextLine(text, bidi.levels_of(text), bidi.base_level(text))


def wrapped(text: str, width: int, size: int) -> list[TextLine]:
    """The words of a text in lines. A word that is too long for one goes on below."""
    whole, lines, start, at, used = paragraph(text), list[TextLine](), 0, 0, 0.0
    for token in _fitting_tokens(text, width, size):
        long = _length(token, size)
        if used and used + long > width and not token.isspace():
            lines.append(whole.part(start, at))
            start, used = at, 0.0
        at += len(token)
        used += long
    return [*lines, whole.part(start, at)]


def _fitting_tokens(text: str, width: int, size: int) -> Iterator[str]:
    for token in _TOKENS.findall(text):
        if token.isspace() or _length(token, size) <= width:
            yield token
        else:
            yield from _CLUSTERS.findall(token)


@lru_cache(maxsize=20_000)
def _length(text: str, size: int) -> float:
    return paragraph(text).width(size)


@lru_cache(maxsize=8192)
def lines_within(text: str, width: int, most: int, size: int) -> tuple[TextLine, ...]:
    """A text in lines, of which there are no more than ``most``: the last one is cut. Widths are in pixels."""
    text, some = clean(text), most * width
    lines = wrapped(text[:some], width, size)  # a letter takes a pixel and more
    if len(lines) <= most and len(text) <= some:
        return tuple(lines)
    *whole, last = lines[:most]  # fewer, where letters without a width are many
    return *whole, _cut(last, width, size)


def _cut(line: TextLine, width: int, size: int) -> TextLine:
    """A line with a sign that it goes on, shortened to leave room for that."""
    ends = [match.end() for match in _CLUSTERS.finditer(line.text)]
    low, high = 0, len(ends)
    while low < high:  # the most clusters that fit
        middle = (low + high + 1) // 2
        if line.part(0, ends[middle - 1]).followed(f" {ELLIPSIS}").width(size) <= width:
            low = middle
        else:
            high = middle - 1
    return line.part(0, ends[low - 1] if low else 0).followed(f" {ELLIPSIS}")


def draw_lines(
    page: Image.Image,
    at: tuple[int, int],
    lines: Sequence[TextLine],
    size: int,
    colour: Colour,
    *,
    step: int,
    width: int = 0,
) -> None:
    """Write lines below one another, ``step`` pixels apart; ``at`` is the upper left corner.

    Those that run from right to left end at the right of a ``width``, where one is given.
    """
    for index, line in enumerate(lines):
        x = at[0] + width - line.width(size) if width and line.base % 2 else at[0]
        line.draw(page, (x, at[1] + index * step + size), size, colour)


def draw_badge(
    page: Image.Image, at: tuple[int, int], lines: Sequence[TextLine], size: int, paper: Colour, colour: Colour
) -> None:
    """Write words on paper of their own; ``at`` is their lower left corner."""
    right = at[0] + max(round(line.width(size)) for line in lines) + 8
    top = at[1] - (len(lines) - 1) * (size + 4) - size - 6
    ImageDraw.Draw(page).rectangle((at[0] - 4, top, right - 4, at[1] + 4), fill=paper)
    draw_lines(page, (at[0], top + 3), lines, size, colour, step=size + 4)
