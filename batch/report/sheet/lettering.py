"""Text on a contact sheet: a font that has its letters, and lines that fit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WIDE_FONTS = (
    "NotoSans-Regular.ttf", "segoeui.ttf", "arial.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc", "DroidSansFallbackFull.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "DejaVuSans.ttf",
)  # fmt: skip


def draw_lines(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str], size: int, colour: Colour, step: int
) -> None:
    """Write lines below one another, ``step`` pixels from one to the next."""
    for index, line in enumerate(lines):
        draw.text((at[0], at[1] + index * step), line, fill=colour, font=font_for(line, size))


def draw_badge(
    image: Image.Image, at: tuple[int, int], word: str, size: int, paper: Colour, colour: Colour
) -> None:
    """Write a word on paper of its own; ``at`` is its lower left corner."""
    draw = ImageDraw.Draw(image)
    font = font_for(word, size)
    left, top, right, bottom = draw.textbbox(at, word, font=font, anchor="ls")
    draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), fill=paper)
    draw.text(at, word, fill=colour, font=font, anchor="ls")


def lines_within(text: str, width: int, most: int, size: int) -> list[str]:
    """The words of a text in lines, of which there are no more than ``most``: the last one is cut."""
    lines = wrapped(" ".join(text.split()), width, size, between=" ")
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], fitting(f"{lines[most - 1]} …", width, size)]


@lru_cache(maxsize=4096)
def wrapped(text: str, width: int, size: int, between: str = " · ") -> list[str]:
    """The text in lines, broken between its parts. One that is too long is cut; a word goes on below."""
    lines: list[str] = []
    for part in text.split(between):
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and _length(longer, size) <= width:
            lines[-1] = longer
        elif between == " ":  # a word, or a whole text in a script without spaces
            lines.append("")
            for letter in part:
                if lines[-1] and _length(lines[-1] + letter, size) > width:
                    lines.append("")
                lines[-1] += letter
        else:
            lines.append(fitting(part, width, size))
    return lines


def fitting(text: str, width: int, size: int) -> str:
    """The text, cut where it would run over the width."""
    font = font_for(text, size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text} …") > width:
        text = text[: -max(1, len(text) // 20)]
    return f"{text} …"


def _length(text: str, size: int) -> float:
    return font_for(text, size).getlength(text)


def font_for(text: str, size: int) -> Font:
    """Pillow's own font, which has little more than ASCII, or the first of the system's with every letter.

    Where no font has them all (Chinese on a machine without one), the last that is there shows boxes.
    """
    fonts = _fonts(size)
    if text.isascii():
        return fonts[0]
    letters = {letter for letter in text if not letter.isspace()}
    for font in fonts:
        missing = bytes(font.getmask("\uffff"))
        if all(bytes(font.getmask(letter)) != missing for letter in letters):
            return font
    return fonts[-1]


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in _WIDE_FONTS:
        with suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return tuple(found)
