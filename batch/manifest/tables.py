"""Files of rows: CSV, TSV, JSON lines and workbooks, each row with its line.

What is wrong inside such a file is reported at the file's own line, all of it at once.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import Place, read_bytes
from batch.manifest.json_lines import read_json_lines
from batch.manifest.limits import TASKS
from batch.manifest.rows import Table, named_rows
from batch.manifest.western import decode_western
from batch.manifest.workbooks import read_workbook

TEXT_TABLES = (".csv", ".tsv", ".jsonl")
TABLE_SUFFIXES = (*TEXT_TABLES, ".xlsx")
PROMPT_SUFFIXES = (".txt", *TABLE_SUFFIXES)
Remark = Callable[[Place, str], None]
_FOREIGN = (".ods", ".xls", ".xlsb", ".xlsm", ".numbers", ".fods", ".gsheet")


def foreign_table(suffix: str) -> str:
    """What to do with the file of a spreadsheet that is not read; nothing for any other kind."""
    return "save it as .xlsx, or as CSV (UTF-8)" if suffix.lower() in _FOREIGN else ""


def read_table(path: Path, sheet: str = "") -> Table:
    """Read a table; ``sheet`` names one of a workbook. Raises :class:`ManifestError` with every problem in it."""
    source, kind = str(path), path.suffix.lower()
    if kind == ".xlsx":
        return read_workbook(path, sheet)
    if sheet:
        raise ManifestError([Problem(source, 0, "only a workbook (.xlsx) has sheets; remove 'sheet'")])
    text, told = read_lines(path)
    table = _of_text(text, kind, source)
    return replace(table, remarks=(*told, *table.remarks))


def _of_text(text: str, kind: str, source: str) -> Table:
    if kind == ".jsonl":
        return read_json_lines(text, source)
    lines = text.split("\n")
    if kind == ".tsv":
        return named_rows(_tsv(lines), source, "\t")
    start, delimiter = dialect(lines)
    return named_rows(_csv(lines, start, delimiter, source), source, delimiter)


def read_lines(path: Path) -> tuple[str, tuple[Problem, ...]]:
    """The text of a file of rows or lines, and what is to be told of it. Raises :class:`ManifestError`."""
    text, told = decode_western(read_bytes(path, str(path)), str(path))
    if text.count("\n") > TASKS:
        raise ManifestError(
            [Problem(str(path), 0, f"more than {TASKS:,} lines, as many as are planned; split it")]
        )
    return text, told


_CSV_ERRORS = {
    "unexpected end": 'a quote (") is opened here and never closed; double a quote that belongs to the text ("")',
    "expected after": 'text follows a closing quote ("); '
    'put the whole cell in quotes and double those inside ("")',
    "field limit": f'a cell has more than {csv.field_size_limit():,} letters; is a quote (") missing?',
}
"""What to say of an error of Python's reader, by what its text holds."""


def csv_error(error: csv.Error) -> str:
    """What to say of an error of Python's reader."""
    return next(
        (better for part, better in _CSV_ERRORS.items() if part in str(error)), f"not a row of CSV: {error}"
    )


_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?[,;\t]*', re.IGNORECASE)
"""A first line that Excel takes for itself, and that people write for its sake."""


def dialect(lines: Sequence[str]) -> tuple[int, str]:
    """Where the header of a CSV file stands, and what parts its cells.

    Comments (``#``) may stand above the header, nowhere else. A spreadsheet in German or French writes semicolons.
    """
    given = ""
    for start, line in enumerate(lines):
        if found := _SEPARATOR.fullmatch(line):
            given = found[1]
        elif line.strip() and not line.startswith("#"):
            return start, given or max(",;\t", key=line.count)
    return len(lines), ","


def _csv(lines: list[str], start: int, delimiter: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line each begins in."""
    reader = csv.reader((f"{line}\n" for line in islice(lines, start, None)), delimiter=delimiter, strict=True)
    line = start + 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ManifestError([Problem(source, line, csv_error(error))]) from None
        begins, line = line, start + reader.line_num + 1
        if any(cell.strip() for cell in cells):
            yield begins, cells


_TALLEST = 100
"""Lines of one row of TSV: a quote that is open longer is a letter of a prompt."""
_IN_VAIN = 1_000
"""Open quotes that turn out to be letters: then no more are followed, for there may be one in every line."""


def _tsv(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """One line is one row, unless a cell in quotes goes on below: a spreadsheet writes its line breaks so.

    A quote is a quote otherwise; only a whole cell in quotes is unquoted.
    """
    number = in_vain = 0
    while number < len(lines):
        begins, line = number, lines[number]
        number += 1
        if not line.strip():
            continue
        cells = line.split("\t")
        if '"' not in line:
            yield begins + 1, cells
            continue
        if in_vain < _IN_VAIN and _opens(line):
            height, row = _tall_row(lines, begins)
            if row:
                yield begins + 1, row
                number = begins + height
                continue
            in_vain += 1
        yield begins + 1, list(map(_unquoted, cells))


def _opens(line: str) -> bool:
    """Whether the last cell of a line begins with a quote that does not end in it."""
    cell = line.rsplit("\t", 1)[-1]
    return cell[:1] == '"' and cell.count('"') % 2 == 1


def _tall_row(lines: Sequence[str], begins: int) -> tuple[int, list[str]]:
    """A row that goes on below its first line, with its height; empty where the quotes are not a spreadsheet's."""
    for end in range(begins + 1, min(begins + _TALLEST, len(lines))):
        first, tab, _ = lines[end].partition("\t")
        closes = first[-1:] == '"' and first.count('"') % 2 == 1
        if closes and not (tab and _opens(lines[end])):
            return end + 1 - begins, _quoted_row(lines[begins : end + 1])
        if tab and not closes:  # a row of its own
            break
    return 0, []


def _quoted_row(lines: Sequence[str]) -> list[str]:
    """A row of several lines; empty where the quotes are not those of a spreadsheet."""
    try:
        rows = list(csv.reader((f"{line}\n" for line in lines), delimiter="\t", strict=True))
    except csv.Error:
        return []
    return rows[0] if len(rows) == 1 and not any("\t" in cell for cell in rows[0]) else []


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell
