"""Style files of other programs: A1111's styles.csv, the JSON of Fooocus and SD.Next, and folders of them.

They are read as leniently as there, since people have grown them over years: what cannot be read is left
out and told.
"""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from batch.base import walk
from batch.base.errors import ManifestError, Problem
from batch.manifest.document import TOO_DEEP, Place, Yaml, read_bytes
from batch.manifest.files import referenced, within
from batch.manifest.json_lines import depth, json_reason
from batch.manifest.limits import DEPTH, NAME, STYLE_BYTES, STYLE_FILES
from batch.manifest.rows import GUARDED, PARTS
from batch.manifest.schema import Style
from batch.manifest.slips import unguarded
from batch.manifest.tables import TABLE_SUFFIXES, Remark, csv_error, dialect, read_table
from batch.manifest.values import more_like, shown, text
from batch.manifest.western import decode_western

STYLE_SUFFIXES = (".json", *TABLE_SUFFIXES)
TEXTS = ("prompt", "negative_prompt")
"""What a style is made of."""

_LINES = 100
"""Of one row of CSV: a quote that is open longer was never closed, and would swallow the rows behind it."""
_SEEN = 10 * STYLE_FILES
"""Files of any kind in a folder, pictures of the styles among them."""
_UNREADABLE = 1_000
"""Rows of a file that may be left out: with more it is no file of styles."""


@dataclass(frozen=True, slots=True)
class NamedStyle:
    """A style of a file, with where it stands."""

    name: str
    style: Style
    place: Place
    remarks: Sequence[tuple[str, str]] = ()
    """What is to be told where it is used: kind and message."""


def read_style_files(named: str, folder: Path, remark: Remark) -> Iterator[NamedStyle]:
    """The styles of a file, of those that fit a pattern, or of the .csv and .json files in a folder, in order.

    Those of folders inside it are called ``Folder/Name``, as SD.Next does. ``remark`` is told what cannot be read.
    Raises ``ValueError`` for what is not there, :class:`ManifestError` for what cannot be read.
    """
    told = _Told(remark)
    try:
        for path, prefix in _files(named, folder):
            yield from _read(path, prefix, told)
    finally:
        told.end()


def _files(named: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """The files, each with what its styles' names begin with."""
    top = within(named, folder)
    if re.search(r"[*?\[]", named) and not top.exists():
        for found in _matching(named, folder):
            yield referenced(found, folder, STYLE_SUFFIXES), ""
        return
    if not top.is_dir():
        yield referenced(named, folder, STYLE_SUFFIXES), ""
        return
    there = list(islice(walk.files_below(top, hidden=False), _SEEN))
    paths = [path for path in there if path.suffix.lower() in (".csv", ".json")]
    if len(there) == _SEEN:
        raise ValueError(f"{top} holds {_SEEN:,} files or more; a folder of styles is wanted")
    if not 0 < len(paths) <= STYLE_FILES:
        raise ValueError(f"{top} holds {len(paths):,} .csv and .json files; 1 to {STYLE_FILES:,} are read")
    for path in paths:
        inner = path.parent.relative_to(top).as_posix()
        yield path, "" if inner == "." or path.suffix.lower() == ".csv" else f"{inner}/"


def _matching(pattern: str, folder: Path) -> list[str]:
    """The files of a pattern such as ``styles*.csv``, in order. Raises ``ValueError`` where there is none."""
    fits = glob.glob(pattern, root_dir=folder)  # noqa: PTH207 - Path.glob takes no absolute pattern
    found = sorted(name for name in fits if Path(name).suffix.lower() in STYLE_SUFFIXES)
    if not 0 < len(found) <= STYLE_FILES:
        raise ValueError(f"{pattern} fits {len(found):,} files of styles; 1 to {STYLE_FILES:,} are read")
    return found


def _read(path: Path, prefix: str, told: _Told) -> Iterator[NamedStyle]:
    kind = path.suffix.lower()
    told.begin(str(path))
    if kind == ".csv":
        found = _of_csv(_decoded(path, told), told)
    elif kind == ".json":
        found = _of_json(_decoded(path, told), told)
    else:
        found = _of_table(path, told.remark)
    for line, name, style in found:
        remarks, told.of_style = told.of_style, []
        try:
            for part in (style.prompt, style.negative_prompt):
                text(part)
            if len(text(name)) > NAME:
                raise ValueError(f"{shown(name)} is no name")
        except ValueError as error:
            told.unreadable(line, str(error))
            continue
        if style != Style():  # what parts the list into groups, in A1111's menu
            yield NamedStyle(prefix + name, style, Place(str(path), line), remarks)


@dataclass(slots=True)
class _Told:
    """What is told of all files: of each kind the first, and how many more there are."""

    remark: Remark
    source: str = ""
    """The file that is being read."""
    kinds: dict[str, tuple[Place, str, int]] = field(default_factory=dict)
    """Place and message of the first, and how many."""
    of_style: list[tuple[str, str]] = field(default_factory=list)
    """Of the style that is read now: told where it is used."""
    _unreadable: list[int] = field(default_factory=list)
    """Lines of this file."""

    def begin(self, source: str) -> None:
        self.source, self.of_style, self._unreadable = source, [], []

    def add(self, kind: str, line: int, message: str) -> None:
        first, said, count = self.kinds.get(kind, (Place(self.source, line), message, 0))
        self.kinds[kind] = (first, said, count + 1)

    def unreadable(self, line: int, why: str) -> None:
        """Raises :class:`ManifestError` when there are too many of them."""
        self.add("unreadable", line, f"this style is left out: {why}")
        self._unreadable.append(line)
        if len(self._unreadable) > _UNREADABLE:
            message = f"more than {_UNREADABLE:,} styles cannot be read, the first in line {self._unreadable[0]}"
            raise ManifestError([Problem(self.source, line, message)])

    def end(self) -> None:
        for place, message, count in self.kinds.values():
            self.remark(place, message + more_like(count))


def _decoded(path: Path, told: _Told) -> str:
    found, remarks = decode_western(read_bytes(path, told.source, STYLE_BYTES), told.source)
    for said in remarks:
        told.add("encoding", said.line, said.message)
    return found


_Found = Iterator[tuple[int, str, Style]]
"""Line, name and style."""


def _of_csv(written: str, told: _Told) -> _Found:
    lines = written.split("\n")
    start, delimiter = dialect(lines)
    columns: Sequence[str] | None = None
    for line, cells in _rows(lines, start, delimiter, told):
        if columns is None:
            columns = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in cells]
            _check_columns(columns, told.source, line)
            continue
        bare = list(map(unguarded, cells))
        if bare != cells:
            told.add("guarded", line, GUARDED)
        row = dict(zip(columns, bare, strict=False))
        name = row["name"].strip()
        if not name or name.startswith("#"):
            continue
        rest = [cell for cell in cells[len(columns) :] if cell.strip()]
        if rest:
            what = f"the style '{name}' has more cells than the header; {shown(rest[0])} is left out"
            told.of_style.append(("long", f"{what}. A text that holds a {PARTS[delimiter]} wants quotes"))
        yield line, name, Style(row.get("prompt", row.get("text", "")), row.get("negative_prompt", ""))
    if columns is None:
        raise ManifestError([Problem(told.source, 0, "the file is empty; it begins with a line of column names")])


def _check_columns(columns: Sequence[str], source: str, line: int) -> None:
    if "name" not in columns or not {"prompt", "text", "negative_prompt"}.intersection(columns):
        lacking = "name" if "name" not in columns else "prompt"
        message = f"styles: it has no column '{lacking}'; it has {shown(', '.join(columns))}"
        raise ManifestError([Problem(source, line, f"{message}. The first line is name,prompt,negative_prompt")])


def _rows(lines: Sequence[str], start: int, delimiter: str, told: _Told) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each begins in; one that cannot be read costs its line and no other."""
    begins = at = start

    def feed() -> Iterator[str]:
        nonlocal at
        while at < min(begins + _LINES, len(lines)):
            at += 1
            yield f"{lines[at - 1]}\n"

    while begins < len(lines):
        try:
            for cells in csv.reader(feed(), delimiter=delimiter, strict=True, skipinitialspace=True):
                if any(cell.strip() for cell in cells):
                    yield begins + 1, cells
                begins = at
        except csv.Error as error:
            told.unreadable(begins + 1, csv_error(error))
            begins = at = begins + 1


def _of_json(written: str, told: _Told) -> _Found:
    """A list of styles, or one alone."""
    for line, item in _items(written, told.source):
        if not isinstance(item, Mapping):
            told.unreadable(line, f"{shown(item)} is not {{name, prompt, negative_prompt}}")
            continue
        texts = [
            item.get("name"),
            item.get("prompt") or "",
            item.get("negative_prompt") or item.get("negative") or "",
        ]
        name, prompt, negative = (part if isinstance(part, str) else None for part in texts)
        if name is None or not name.strip() or prompt is None or negative is None:
            told.unreadable(line, f"a style has texts for name, prompt and negative_prompt; here is {shown(item)}")
            continue
        for other in ("extra", "wildcards"):
            if value := item.get(other):
                said = f"the style '{name}' has {shown(value)} under '{other}', which is left out"
                told.of_style.append((other, said))
        yield line, re.sub(r"[\t\r\n]", "", name).strip(), Style(prompt, negative)


_SPACE = re.compile(r"[ \t\n]*")


def _items(written: str, source: str) -> Iterator[tuple[int, Yaml]]:
    """The values of a JSON list, or one value alone, each with its line. Raises :class:`ManifestError`."""
    at = _after_space(written, 0)
    many = written[at : at + 1] == "["
    line, seen = 1, 0
    while True:
        at = _after_space(written, at + many)
        line, seen = line + written.count("\n", seen, at), at
        if many and written[at : at + 1] == "]":
            break
        item, at = _decode(written, at, Place(source, line))
        yield line, item
        at = _after_space(written, at)
        if not many or written[at : at + 1] != ",":
            break
    rest = written[at:].removeprefix("]") if many else written[at:]
    if rest.strip() or (many and written[at : at + 1] != "]"):
        line += written.count("\n", seen, at)
        raise ManifestError([Problem(source, line, f"not JSON: {shown(rest.strip())} stands behind a style")])


def _decode(written: str, at: int, place: Place) -> tuple[Yaml, int]:
    try:
        item, end = json.JSONDecoder().raw_decode(written, at)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}; a list of {{name, prompt, negative_prompt}} is wanted"
        raise ManifestError([Problem(place.source, error.lineno, message)]) from None
    except (ValueError, RecursionError) as error:
        raise ManifestError([Problem(*place, f"not JSON: {json_reason(error)}")]) from None
    if depth(item) > DEPTH:
        raise ManifestError([Problem(*place, TOO_DEEP)])
    return item, end


def _after_space(written: str, at: int) -> int:
    found = _SPACE.match(written, at)
    return found.end() if found else at


def _of_table(path: Path, remark: Remark) -> _Found:
    table = read_table(path)
    for said in table.remarks:
        remark(Place(said.source, said.line), said.message)
    _check_columns(table.columns, *table.header)
    wrong = [
        Problem(*row.place, "styles: this row has no 'name'") for row in table.rows if "name" not in row.cells
    ]
    if wrong:  # a line of JSON names its own columns
        raise ManifestError(wrong)
    for row in table.rows:
        texts = [str(row.cells.get(column) or "") for column in TEXTS]
        yield row.place.line, str(row.cells["name"]).strip(), Style(*texts)
