"""Fonts: one comes with the program (Latin, Cyrillic, Greek, Hebrew, Arabic, signs), others are the system's.

The system is asked for a font when letters are met that no known font has: fontconfig where it is there, else by
the names that Windows, macOS and Linux give to theirs. A font is chosen for each cluster of letters.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import regex
from PIL import Image, ImageDraw, ImageFont, features

Colour = tuple[int, int, int]

SHIPPED = Path(__file__).parent.parent / "fonts" / "DejaVuSansCondensed.ttf"

JOINS = features.check("raqm")
"""Whether Pillow can shape: join Arabic letters, place the vowels of Indic scripts, make one emoji of several.

Without it letters stand side by side, in the right order."""

_COLOURED = (
    "seguiemj.ttf", "Apple Color Emoji.ttc", "NotoColorEmoji.ttf", "NotoColorEmoji-Regular.ttf",
    "TwemojiMozilla.ttf",
)  # fmt: skip
_NAMED = (
    "NotoSans-Regular.ttf", "segoeui.ttf", "arial.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "msyh.ttc",
    "YuGothR.ttc", "msgothic.ttc", "malgun.ttf", "Hiragino Sans GB.ttc", "PingFang.ttc", "AppleSDGothicNeo.ttc",
    "wqy-microhei.ttc", "DroidSansFallbackFull.ttf", "Nirmala.ttc", "Nirmala.ttf", "LeelawUI.ttf", "ebrima.ttf",
    "mmrtext.ttf", "himalaya.ttf", "seguisym.ttf", "Apple Symbols.ttf", "GeezaPro.ttc", "Kohinoor.ttc",
    "Thonburi.ttc", "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "FreeSans.ttf", "unifont.ttf",
)  # fmt: skip
"""In the folders that Pillow knows of each system, where there is no fontconfig."""

_STRIKES = (109, 160, 136, 128, 96, 64, 72, 48, 40, 32)
"""Sizes of which fonts of bitmaps have one: Noto's colour emoji are 109 pixels."""
_PROBE = 32
"""Pixels of the letters that are compared with what a font draws for one that it lacks."""

_MOST_ASKED = 60
"""Questions to fontconfig: each takes some 30 ms, and a text may hold any number of letters that no font has."""
_SYSTEM_S = 5.0

_EMOJI = regex.compile(r"\p{Emoji_Presentation}|\ufe0f|\p{RI}")
_UNDRAWN = regex.compile(r"\p{Default_Ignorable_Code_Point}")
_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Z}\p{Cc}\p{Cf}]")


@dataclass(eq=False, slots=True)
class Face:
    """A font, of any size. One of bitmaps has a size of its own (``strike``, in pixels) and is scaled."""

    path: str
    index: int = 0
    strike: int = 0
    _missing: frozenset[bytes] = frozenset()
    _known: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str, index: int = 0) -> Face:
        """Raises OSError where it cannot be used."""
        try:
            ImageFont.truetype(path, _PROBE, index)
            return cls(path, index)
        except OSError:
            return cls(path, index, next(strike for strike in _STRIKES if _opens(path, index, strike)))

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font in pixels; of bitmaps at the size they have."""
        layout = ImageFont.Layout.RAQM if JOINS else ImageFont.Layout.BASIC
        return _opened(self.path, self.index, self.strike or size, layout)

    def has(self, cluster: str) -> bool:
        """Whether it has all letters of a cluster; of those that nobody sees none is asked for."""
        return all(self._has(letter) for letter in cluster if not _UNSEEN.match(letter))

    def _has(self, letter: str) -> bool:
        if letter not in self._known:
            if not self._missing:
                self._missing = frozenset(self._look(other) for other in ("\U0010fffe", "\uffff"))
            self._known[letter] = self._look(letter) not in self._missing
        return self._known[letter]

    def _look(self, letter: str) -> bytes:
        font = _opened(self.path, self.index, self.strike or _PROBE, ImageFont.Layout.BASIC)
        mask = font.getmask(letter)
        return bytes(mask) + bytes(str(font.getlength(letter)), "ascii")


@cache
def _opened(path: str, index: int, size: int, layout: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, index, layout_engine=layout)


def _opens(path: str, index: int, size: int) -> bool:
    with suppress(OSError):
        ImageFont.truetype(path, size, index)
        return True
    return False


@cache
def shipped() -> Face:
    """The font that comes with the program."""
    return Face(str(SHIPPED))


@lru_cache(maxsize=20_000)
def face_for(cluster: str) -> Face:
    """The font of a cluster of letters; where none has them the one that is shipped, which draws boxes."""
    for coloured in (True, False) if _EMOJI.search(cluster) else (False,):
        if face := _face_among(_loaded(coloured=coloured), cluster, coloured=coloured):
            return face
    return shipped()


def _face_among(known: list[Face], cluster: str, *, coloured: bool) -> Face | None:
    """One that is in use, or a new one, which is in use from now on."""
    for face in known:
        if face.has(cluster):
            return face
    for face in _found(cluster, coloured=coloured):
        if face not in known and face.has(cluster):
            known.append(face)
            return face
    return None


@cache
def _loaded(*, coloured: bool) -> list[Face]:
    """Fonts in use, in the order in which they are asked."""
    return [] if coloured else [shipped()]


def _found(cluster: str, *, coloured: bool) -> Iterator[Face]:
    """Fonts of the system that may have a cluster."""
    if program := shutil.which("fc-match"):
        letter = next((letter for letter in cluster if not _UNSEEN.match(letter)), "")
        if letter and (found := _asked(program, ord(letter), coloured=coloured)):
            yield found
        return
    for name in _COLOURED if coloured else _NAMED:
        if face := _named(name):
            yield face


_questions: list[int] = []


@cache
def _asked(program: str, letter: int, *, coloured: bool) -> Face | None:
    """What fontconfig takes for a letter, which need not have it."""
    if len(_questions) >= _MOST_ASKED:
        return None
    _questions.append(letter)
    pattern = f":charset={letter:x}:color=true" if coloured else f"sans:charset={letter:x}"
    with suppress(OSError, subprocess.SubprocessError, ValueError, StopIteration):
        done = subprocess.run(
            [program, "-f", "%{file}\n%{index}", pattern],
            capture_output=True, text=True, encoding="utf-8", timeout=_SYSTEM_S, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        path, _, index = done.stdout.partition("\n")
        return _face(path, int(index) & 0xFFFF)  # the rest of it numbers instances of a variable font
    return None


@cache
def _face(path: str, index: int) -> Face:
    return Face.of(path, index)


@cache
def _named(name: str) -> Face | None:
    with suppress(OSError, StopIteration):
        path = ImageFont.truetype(name, _PROBE if name not in _COLOURED else _STRIKES[0]).path
        return _face(str(path), 0)
    return None


# Pieces of one font


@lru_cache(maxsize=20_000)
def width_of(text: str, face: Face, size: int, level: int) -> float:
    """Pixels that a piece takes."""
    font = face.at(size)
    length = font.getlength(_shown(text, level), direction=_way(level))
    return length * size / face.strike if face.strike else length


def draw_piece(
    page: Image.Image, at: tuple[float, float], text: str, face: Face, size: int, colour: Colour, level: int
) -> None:
    """Draw a piece; ``at`` is where it begins on its base line."""
    shown, font = _shown(text, level), face.at(size)
    if not face.strike:
        draw = ImageDraw.Draw(page)
        draw.text(at, shown, fill=colour, font=font, anchor="ls", embedded_color=True, direction=_way(level))
        return
    scale = size / face.strike
    ascent, descent = font.getmetrics()
    tile = Image.new("RGBA", (max(1, round(font.getlength(shown))), ascent + descent))
    ImageDraw.Draw(tile).text(
        (0, ascent), shown, font=font, anchor="ls", embedded_color=True, direction=_way(level)
    )
    small = tile.resize(
        (max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.BOX
    )
    page.paste(small, (round(at[0]), round(at[1] - ascent * scale)), small)


def _way(level: int) -> str | None:
    if not JOINS:
        return None
    return "rtl" if level % 2 else "ltr"


_MIRRORED = str.maketrans("()[]{}<>«»‹›", ")(][}{><»«›‹")


def _shown(text: str, level: int) -> str:
    """A piece as Pillow takes it: without shaping, what runs to the left is turned round here."""
    if JOINS:
        return text
    seen = _UNDRAWN.sub("", text)
    return "".join(reversed(regex.findall(r"\X", seen))).translate(_MIRRORED) if level % 2 else seen
