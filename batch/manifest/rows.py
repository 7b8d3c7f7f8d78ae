"""What every file of rows is read into, whatever its kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import Place, Yaml
from batch.manifest.limits import COLUMNS
from batch.manifest.slips import spoilt, unguarded
from batch.manifest.values import listed, shown


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: its cells by column. Those of JSON lines hold any value, all others texts."""

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
    decimal_comma: bool = False
    """A comma parts no cells here, so that one in a number is a decimal point."""
    remarks: tuple[Problem, ...] = ()
    """What is told beside the plan."""

    def named(self, column: str) -> Place:
        """Where a column is named: JSON lines name it in the rows that have it."""
        first = next((row for row in self.rows if column in row.cells), None) if self.typed else None
        return first.place if first else self.header


GUARDED = (
    "an apostrophe before = + - or @ is left out: it keeps a spreadsheet from taking the text for a formula, "
    "and is no part of it"
)
"""What is told where an apostrophe is left out, once a file."""


def check_width(columns: Collection[str], place: Place) -> None:
    """Raises :class:`ManifestError` for more columns than any table has."""
    if len(columns) > COLUMNS:
        raise ManifestError([Problem(*place, f"{len(columns):,} columns; a table has at most {COLUMNS:,}")])


def named_rows(lines: Iterable[tuple[int, Sequence[str]]], source: str, delimiter: str = "") -> Table:
    """A table of rows of texts with their lines, of which the first names the columns.

    ``delimiter`` parts the cells in the file; it is empty where they are cells of a sheet. Columns without a name
    behind the last one with a name are left out, as spreadsheets write them.
    Raises :class:`ManifestError` with every problem in it.
    """
    numbered = iter(lines)
    first = next(numbered, None)
    if first is None:
        raise ManifestError([Problem(source, 0, "the file is empty; it begins with a line of column names")])
    header, columns = Place(source, first[0]), _trimmed([name.strip() for name in first[1]], 0)
    check_width(columns, header)
    problems = [
        Problem(*header, f"the column '{name}' is named twice" if name else f"column {index + 1} has no name")
        for index, name in enumerate(columns)
        if not name or name in columns[:index]
    ]
    rows, guarded = [], 0
    for number, cells in numbered:
        found = cells if len(cells) == len(columns) else _trimmed(cells, len(columns))
        wrong = _width(found, columns, delimiter) or next((spoilt(cell) for cell in found if cell[:1] == "#"), "")
        if wrong:
            problems.append(Problem(source, number, wrong))
            continue
        if any(cell[:1] == "'" for cell in found):
            bare = [unguarded(cell) for cell in found]
            guarded = guarded or (number if bare != list(found) else 0)
            found = bare
        rows.append(TableRow(Place(source, number), dict(zip(columns, found, strict=True))))
    if problems:
        raise ManifestError(problems)
    told = (Problem(source, guarded, GUARDED),) if guarded else ()
    return Table(tuple(columns), tuple(rows), header, False, delimiter in ("\t", ";"), told)


def _trimmed(cells: Sequence[str], width: int) -> Sequence[str]:
    """Without the empty cells at the end, as long as it is wider than ``width``."""
    end = len(cells)
    while end > width and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


PARTS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""What parts cells, by its name."""


def _width(cells: Sequence[str], columns: Sequence[str], delimiter: str) -> str:
    """What is wrong with the number of cells."""
    if len(cells) == len(columns):
        return ""
    message = f"{len(cells)} cells, but the header names {len(columns)}: {listed(columns)}"
    curly = next((cell for cell in cells if cell[:1] in ("\u201c", "\u201e", "\u00ab")), "")
    if curly:
        return f"{message}. Curly quotes such as {shown(curly)} do not hold a cell together; write straight ones"
    if len(cells) > len(columns):
        hint = f". A text that holds a {PARTS[delimiter]} wants quotes" if delimiter else ""
        return message + (hint if len(columns) > 1 else "")
    return f"{message}. Cells that are left empty at the end are written down, too"
