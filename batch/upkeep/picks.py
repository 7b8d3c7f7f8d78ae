"""A list of picks: the images of run folders that the lines of a text file name.

Its lines are anybody's: they are compared with what the runs hold, and no file that they name is opened.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batch.base import regular
from batch.base.errors import ManifestError, Problem, UserError
from batch.base.text import one_line, visible
from batch.manifest.document import decode_text
from batch.upkeep.albums import Album, stem

Picked = tuple[Album, str]
"""An image: its run, and its id there."""

MAX_BYTES = 8 * 2**20
"""Of a list: a hundred for each of eighty thousand images."""

MAX_LETTERS = 4_096
"""Of a line: no system takes a longer path."""

MOST_SHOWN = 200
"""Letters of a path in a message: file systems take as many of a name, and ids are at its end."""

MOST_WRONG, MOST_COMPARED = 100, 40_000
"""Lines that are told, and names with which they are compared to guess what was meant: some seconds of work."""


def read_picks(path: Path, albums: Sequence[Album]) -> list[Picked]:
    """The images that a list names, each once, in its order; ``-`` is what stands on stdin.

    Raises :class:`UserError`, with every line that names none, or several.
    """
    source = "stdin" if str(path) == "-" else str(path)
    found: dict[Picked, None] = {}
    wrong: list[Problem] = []
    guesses = MOST_COMPARED // sum((len(album.by_id) for album in albums), start=1) or 1
    for number, line in _lines(_text(path, source)):
        try:
            found[_image(line, albums, guess=guesses > 0)] = None
        except ValueError as error:
            guesses -= 1
            wrong.append(Problem(source, number, str(error)))
            if len(wrong) >= MOST_WRONG:
                wrong.append(Problem(source, 0, f"only the first {MOST_WRONG} wrong lines are told"))
                break
    if wrong:
        raise ManifestError(wrong)
    if not found:
        raise UserError(f"{source} names no image: write the name of one a line")
    return list(found)


def _text(path: Path, source: str) -> str:
    try:
        raw = _stdin() if source == "stdin" else regular.read(path, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{source} is not there: it is a text file with the name of an image a line") from None
    except regular.NotAFile as error:
        raise UserError(f"{source}: {error}; what another program writes is read by --picks -") from None
    except regular.TooLarge as error:
        raise UserError(f"{source} is no list of picks: {error}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{source} cannot be read: {error}") from None
    return decode_text(raw, source)


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise regular.TooLarge(f"it has more than {MAX_BYTES:,} bytes")
    return data


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _image(line: str, albums: Sequence[Album], *, guess: bool) -> Picked:
    """The one image that a line names. Raises ``ValueError``."""
    if len(line) > MAX_LETTERS:
        raise ValueError(f"this line has {len(line):,} letters, and is the name of no image: {_shown(line)}")
    for text in _readings(line):
        found = _found(text, albums)
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(_several(text, found))
    raise ValueError(_unknown(next(_readings(line)), albums if guess else ()))


def _readings(line: str) -> Iterator[str]:
    """What a line may say, the likeliest first: names may hold `` #``, and what follows it may be a comment."""
    whole = line.partition("\t")[0].rstrip()
    yield from _spellings(whole)
    for match in reversed(list(re.finditer(r"\s+#", whole))):
        yield from _spellings(whole[: match.start()])


def _spellings(text: str) -> Iterator[str]:
    """A path as it is, or as a terminal or a file manager writes one that was dragged there."""
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if text.startswith("file:"):
        with suppress(ValueError):
            text = re.sub(r"^/(?=[A-Za-z]:)", "", unquote(urlsplit(text).path))
    yield posixpath.normpath(text)
    if "\\" in text:
        yield posixpath.normpath(text.replace("\\", "/"))  # Windows
        yield re.sub(r"\\(.)", r"\1", text)  # a shell


def _found(text: str, albums: Sequence[Album]) -> list[Picked]:
    """The images of a path in one of the runs, or of a name in any."""
    place = os.path.abspath(text)  # noqa: PTH100 - resolve() would follow links
    pinned = [(album, inner) for album in albums if (inner := _inside(place, album))]
    asked = pinned or [(album, text) for album in albums]
    for found in zip(*(album.called(inner) for album, inner in asked), strict=True):
        images = [(album, key) for (album, _), keys in zip(asked, found, strict=True) for key in sorted(keys)]
        if images:
            return images
    return []


def _inside(place: str, album: Album) -> str:
    """A path in a run folder, relative to it; "" for one that leads elsewhere. No file is looked at."""
    for top in album.tops:
        if os.path.normcase(place).startswith(os.path.normcase(top)):
            return place[len(top) :].replace(os.sep, "/")
    return ""


def _several(text: str, found: Sequence[Picked]) -> str:
    shown = " and ".join(_shown(f"{album.root}/{album.path(key)}") for album, key in found[:3])
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"{_shown(text)} may be {shown}{more}; write which, with the folder of its run"


def _unknown(text: str, albums: Sequence[Album]) -> str:
    name = stem(text.rpartition("/")[2])
    known = (album.path(key) for album in albums for key in album.by_id)
    by_name = {stem(path.rpartition("/")[2]): path for path in islice(known, MOST_COMPARED)}
    near = get_close_matches(name[:200], by_name, n=1)
    hint = f"; did you mean {_shown(by_name[near[0]])}?" if near else ""
    return f"{_shown(text)} names no image here{hint or ': a line is the file of an image, its name or its id'}"


def _shown(text: str) -> str:
    text = one_line(visible(text))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN // 2]}…{text[-MOST_SHOWN // 2 :]}"
