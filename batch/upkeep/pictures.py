"""Which files somebody means: pictures, patterns of them, folders with them, run folders; and what they say."""

from __future__ import annotations

import glob
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from batch.base import regular
from batch.base.errors import UserError
from batch.manifest import recover
from batch.manifest.foreign.a1111 import generations
from batch.manifest.foreign.draft import FOREIGN, mapping, named
from batch.manifest.foreign.programs import fooocus_data
from batch.manifest.recovered import Recovered
from batch.records.reading import any_json
from batch.store.folder import RunFolder
from batch.store.images.reading import read_metadata, suffixes
from batch.store.images.stealth import read_stealth

MAX_LOG = 16 * 2**20
"""Bytes of a log of Fooocus: two kilobytes a picture."""

MAX_TEXTS = 4 * 2**20
"""Bytes of a text that holds those of many pictures: half a kilobyte each."""

_TEXT_BESIDE = ".txt"
_LOGS = {".html", ".htm"}


def expanded(sources: Sequence[Path]) -> list[Path]:
    """The files and run folders that are meant. Raises :class:`UserError` where there is none.

    Patterns are expanded here where no shell has done it, and a folder stands for the pictures in it.
    """
    return list(dict.fromkeys(path for source in sources for path in _expanded(source)))


def _expanded(source: Path) -> Iterator[Path]:
    if source.is_dir() and not RunFolder(source).exists():
        found = sorted(path for path in source.iterdir() if _is_picture(path))
        if not found:
            raise UserError(
                f"{source} is a folder without pictures, and no run folder; for those below it: {source}/**"
            )
        yield from found
    elif re.search(r"[*?\[]", str(source)) and not source.exists():
        paths = map(Path, sorted(glob.glob(str(source), recursive=True)))  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [path for path in paths if _is_picture(path) or RunFolder(path).exists()]
        if not found:
            raise UserError(f"{source} matches no picture and no run folder")
        yield from found
    else:
        yield source


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in suffixes() and path.is_file()


def read_pictures(path: Path) -> Iterator[tuple[str, Recovered]]:
    """The pictures that a file says something of, by name: one, or those of a text or a log of Fooocus.

    Raises :class:`UserError` where it says nothing.
    """
    if path.suffix.lower() in _LOGS:
        yield from _of_log(path)
    elif path.suffix.lower() == _TEXT_BESIDE:
        texts = generations(_text(path, MAX_TEXTS))
        for number, text in enumerate(texts, start=1):
            name = f"{path}: {number}" if len(texts) > 1 else str(path)
            yield name, _understood(path, {"parameters": text})
    else:
        yield str(path), _of_picture(path)


def _of_picture(path: Path) -> Recovered:
    texts = read_metadata(path)
    try:
        return recover.from_metadata(texts)
    except ValueError:
        pass
    beside = path.with_suffix(_TEXT_BESIDE)
    if beside.is_file():
        try:
            (text,) = generations(_text(beside))
            return recover.from_metadata({"parameters": text})
        except (ValueError, UserError):
            pass  # a caption for training, say, or those of several pictures
    texts |= read_stealth(path)
    if not texts:
        raise UserError(f"{path} says nothing of how it was made: it has no metadata")
    return _understood(path, texts)


def _understood(path: Path, texts: Mapping[str, str]) -> Recovered:
    try:
        return recover.from_metadata(texts)
    except ValueError as error:
        why = f" ({error})" if str(error) else ""
        raise UserError(f"{path} has texts ({named(texts)}), but none that is understood here{why}") from None


def _text(path: Path, limit: int = 4 * recover.MAX_TEXT) -> str:
    try:
        data = regular.read(path, limit)
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    return data.decode("utf-8-sig", "replace")


def _of_log(path: Path) -> Iterator[tuple[str, Recovered]]:
    """The pictures of Fooocus' ``log.html``: a table each, and on a button the same as JSON."""
    found = False
    for part in _text(path, MAX_LOG).split('<div id="')[1:]:
        try:
            picture = recover.checked(fooocus_data(_copied(part) or dict(_rows(part))))
        except FOREIGN:
            continue
        found = True
        name = part.partition('"')[0]
        yield f"{path}: {name[:100]}", picture
    if not found:
        raise UserError(f"{path} is not a log of Fooocus that is understood here")


def _copied(part: str) -> Mapping[str, object]:
    written = part.partition("to_clipboard('")[2].partition("')")[0]
    try:
        return mapping(any_json(unquote(written)))
    except FOREIGN:
        return {}  # the table says the same


def _rows(part: str) -> Iterator[tuple[str, str]]:
    for row in part.split("</tr>"):
        label, _, rest = row.rpartition("<tr>")[2].partition("</td>")
        value = rest.partition("class='value'>")[2].partition("</td>")[0]
        key = html.unescape(label.rpartition(">")[2]).strip().lower().replace(" ", "_")
        if key and value:
            yield key, html.unescape(value.replace("</br>", "\n")).strip()
