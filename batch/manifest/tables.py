"""Files of rows: CSV, TSV and JSON lines, each row with its line.

What is wrong inside such a file is reported at the file's own line, all of it at once.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import TOO_DEEP, Place, Yaml, read_text
from batch.manifest.limits import COLUMNS, DEPTH, TASKS
from batch.manifest.values import listed

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
PROMPT_SUFFIXES = (".txt", *TABLE_SUFFIXES)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its cells by column. Cells of CSV and TSV are texts, those of JSON lines any value."""

    place: Place
    cells: dict[str, Yaml]


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows. ``header`` is where the columns are named; JSON lines name them in every row."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    header: Place
    typed: bool
    """True for JSON lines: values keep their type and are not split."""


def read_table(path: Path) -> Table:
    """Read a .csv, .tsv or .jsonl file. Raises :class:`ManifestError` with every problem in it."""
    source = str(path)
    text = read_lines(path)
    if path.suffix.lower() == ".jsonl":
        return _json_table(text, source)
    lines = _tsv(text) if path.suffix.lower() == ".tsv" else _csv(text, source)
    first = next(lines, None)
    if first is None:
        raise ManifestError([Problem(source, 0, "the file is empty; it begins with a line of column names")])
    header, columns = Place(source, first[0]), tuple(name.strip() for name in first[1])
    _check_width(columns, header)
    problems = [
        Problem(*header, f"the column '{name}' is named twice" if name else f"column {index + 1} has no name")
        for index, name in enumerate(columns)
        if not name or name in columns[:index]
    ]
    rows = []
    for number, cells in lines:
        if len(cells) != len(columns):
            message = f"{len(cells)} cells, but the header names {len(columns)}: {listed(columns)}"
            problems.append(Problem(source, number, message))
            continue
        rows.append(TableRow(Place(source, number), dict(zip(columns, cells, strict=True))))
    if problems:
        raise ManifestError(problems)
    return Table(columns, tuple(rows), header, typed=False)


def read_lines(path: Path) -> str:
    """The text of a file of rows. Raises :class:`ManifestError`."""
    text = read_text(path, str(path))
    if text.count("\n") > TASKS:
        raise ManifestError(
            [Problem(str(path), 0, f"more than {TASKS:,} lines, as many as are planned; split it")]
        )
    return text


def _check_width(columns: Collection[str], place: Place) -> None:
    if len(columns) > COLUMNS:
        raise ManifestError([Problem(*place, f"{len(columns):,} columns; a table has at most {COLUMNS:,}")])


_CSV_ERRORS = {
    "unexpected end": 'a quote (") is opened here and never closed; double a quote that belongs to the text ("")',
    "expected after": 'text follows a closing quote ("); '
    'put the whole cell in quotes and double those inside ("")',
    "field limit": f'a cell has more than {csv.field_size_limit():,} letters; is a quote (") missing?',
}
"""What to say of an error of Python's reader, by what its text holds."""


def _csv(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each begins in. Comments (``#``) may stand above the header, nowhere else."""
    lines = text.split("\n")
    skipped = 0
    while skipped < len(lines) and (not lines[skipped].strip() or lines[skipped].startswith("#")):
        skipped += 1
    body = "\n".join(lines[skipped:])
    header = body.split("\n", 1)[0]
    # A spreadsheet in German or French writes semicolons.
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    line = skipped + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            said = (better for part, better in _CSV_ERRORS.items() if part in str(error))
            message = next(said, f"not a row of CSV: {error}")
            raise ManifestError([Problem(source, line, message)]) from None
        begins, line = line, skipped + reader.line_num + 1
        if any(cell.strip() for cell in cells):
            yield begins, cells


def _tsv(text: str) -> Iterator[tuple[int, list[str]]]:
    """One line is one row. Tabs cannot be quoted; a cell that a spreadsheet has quoted is unquoted."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split("\t")
        for index, cell in enumerate(cells):
            inner = cell[1:-1]
            if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
                cells[index] = inner.replace('""', '"')
        yield number, cells


def _json_table(text: str, source: str) -> Table:
    rows: list[TableRow] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(source, number, f"not a line of JSON: {_json_reason(error)}"))
            continue
        wrong = _json_problem(cells, line)
        if wrong:
            problems.append(Problem(source, number, wrong))
            continue
        if isinstance(cells, str):
            cells = {"prompt": cells}
        if not isinstance(cells, dict):
            problems.append(Problem(source, number, 'an object is needed here: {"prompt": "…"}'))
            continue
        columns |= dict.fromkeys(cells)
        _check_width(columns, Place(source, number))
        rows.append(TableRow(Place(source, number), cells))
    if not rows and not problems:
        problems.append(Problem(source, 0, "the file is empty"))
    if problems:
        raise ManifestError(problems)
    return Table(tuple(columns), tuple(rows), Place(source, 0), typed=True)


def _json_reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number has thousands of digits" if "integer string conversion" in str(error) else str(error)


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def _json_problem(value: Yaml, line: str) -> str:
    """What JSON can write down and a manifest cannot hold."""
    if line.count("[") + line.count("{") > DEPTH and _depth(value) > DEPTH:
        return TOO_DEEP
    if _HALF.search(line):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "it holds half of a surrogate pair, which no file can hold"
    return ""


def _depth(value: Yaml) -> int:
    """Without recursion: JSON's own reader goes deeper than Python's stack bears afterwards."""
    depth, inner = 0, [value]
    while inner:
        depth += 1
        held = [item for item in inner if isinstance(item, dict | list)]
        inner = [child for item in held for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _unique(pairs: list[tuple[str, Yaml]]) -> dict[str, Yaml]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
