"""Workbooks (.xlsx) as tables: the cells of one sheet, and what of them cannot be meant as it stands."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import read_bytes
from batch.manifest.limits import COLUMNS, MIB, SHEET_CELLS, UNPACKED
from batch.manifest.rows import Table, named_rows
from batch.manifest.slips import DATE
from batch.manifest.values import listed, shown, suggest
from batch.manifest.workbook_parts import TooMuch, check_parts

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.workbook import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

_PACKAGES = ("openpyxl", "defusedxml")
_NAMED = 5
"""Hidden rows that are named in a remark."""


def read_workbook(path: Path, sheet: str = "") -> Table:
    """One sheet of a workbook, without a name the first that is not hidden. Its lines are the rows of the sheet.

    Numbers become texts, formulas the values that were saved with them. Raises :class:`ManifestError` with every
    problem in it.
    """
    source = str(path)
    if not all(map(find_spec, _PACKAGES)):
        raise ManifestError(
            [Problem(source, 0, "a workbook needs: pip install 'run-batch[xlsx]'; or save it as CSV")]
        )
    data = _checked(read_bytes(path, source, UNPACKED), source)
    workbook = _loaded(data, source)
    found = _sheet(workbook, sheet, source)
    if found.max_row * found.max_column > SHEET_CELLS or found.max_column > COLUMNS:
        message = (
            f"the sheet '{found.title}' reaches to row {found.max_row:,} and column {found.max_column:,}; "
            "delete what lies far out, or save it as CSV"
        )
        raise ManifestError([Problem(source, 0, message)])
    problems = [*_merged(found, source), *_without_value(data, found, source), *_dates(found, source)]
    if problems:
        raise ManifestError(problems)
    table = named_rows(_rows(found), source)
    remarks = (Problem(source, *said) for said in _remarks(workbook, found, sheet, table))
    return replace(table, remarks=(*table.remarks, *remarks))


def _checked(data: bytes, source: str) -> bytes:
    """A zip file that is not larger unpacked than a table may be, nor made of more.

    What it says of its size holds, or it is damaged.
    """
    try:
        packed = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        raise ManifestError([Problem(source, 0, "not a workbook (.xlsx), or one with a password")]) from None
    with packed:
        if sum(item.file_size for item in packed.infolist()) > UNPACKED:
            message = f"more than {UNPACKED // MIB} MiB when it is unpacked; save it as CSV"
            raise ManifestError([Problem(source, 0, message)])
        try:
            check_parts(packed)
        except TooMuch as error:
            raise ManifestError([Problem(source, 0, str(error))]) from None
    return data


def _loaded(data: bytes, source: str, *, values: bool = True) -> Workbook:
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extensions that it leaves out
            return openpyxl.load_workbook(io.BytesIO(data), data_only=values)
    except MemoryError:
        raise ManifestError([Problem(source, 0, "it takes more memory than there is; save it as CSV")]) from None
    except (ParseError, Exception) as error:  # noqa: BLE001 - it may be anybody's file, and openpyxl checks little of it
        message = f"not a workbook (.xlsx) that can be read: {shown(error)}; save it anew, or as CSV"
        raise ManifestError([Problem(source, 0, message)]) from None


def _sheet(workbook: Workbook, named: str, source: str) -> Worksheet:
    sheets = {found.title: found for found in workbook.worksheets}
    if named:
        if named not in sheets:
            raise ManifestError([Problem(source, 0, f"there is no sheet '{named}'; {suggest(named, sheets)}")])
        return sheets[named]
    seen = [*_visible(workbook), *sheets.values()]
    if not seen:
        raise ManifestError([Problem(source, 0, "the workbook has no sheet of cells")])
    return seen[0]


def _visible(workbook: Workbook) -> list[Worksheet]:
    return [found for found in workbook.worksheets if found.sheet_state == "visible"]


def _cells(sheet: Worksheet) -> Iterator[Cell]:
    for row in sheet.iter_rows():
        yield from (cell for cell in row if cell.value is not None)


def _merged(sheet: Worksheet, source: str) -> Iterator[Problem]:
    for found in sheet.merged_cells.ranges:
        message = (
            f"the cells {found.coord} are merged, and only the first has the value; part them and fill them all"
        )
        yield Problem(source, found.min_row, message)


def _without_value(data: bytes, sheet: Worksheet, source: str) -> Iterator[Problem]:
    """Formulas that were saved by a program that does not calculate: empty cells otherwise."""
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        parts = [name for name in packed.namelist() if "worksheets/" in name]
        if not any(mark in packed.read(name) for name in parts for mark in (b"<f>", b"<f ", b":f>", b":f ")):
            return
    formulas = _loaded(data, source, values=False)[sheet.title]
    for cell in _cells(formulas):
        if cell.data_type == "f" and sheet[cell.coordinate].value is None:
            what = f"the formula in {cell.coordinate} was saved without its value"
            yield Problem(source, cell.row, f"{what}; open the file in a spreadsheet and save it there")


def _dates(sheet: Worksheet, source: str) -> Iterator[Problem]:
    for cell in _cells(sheet):
        if isinstance(cell.value, date | time | timedelta):
            yield Problem(source, cell.row, f"{cell.coordinate} holds {cell.value}: {DATE}")


def _rows(sheet: Worksheet) -> Iterator[tuple[int, list[str]]]:
    """Rows of texts with their numbers, without the empty ones and the comments above the header."""
    header = False
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = [_text(value) for value in row]
        if any(cell.strip() for cell in cells) and (header or not cells[0].startswith("#")):
            header = True
            yield number, cells


def _text(value: object) -> str:
    """A cell as it would stand in a CSV file: a whole number without a point, though the file holds floats."""
    from openpyxl.utils.escape import unescape

    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, str):
        return str(unescape(value)).replace("\r\n", "\n").replace("\r", "\n")
    return str(value)


def _remarks(workbook: Workbook, sheet: Worksheet, named: str, table: Table) -> Iterator[tuple[int, str]]:
    others = [found.title for found in _visible(workbook) if found is not sheet]
    if others and not named:
        said = f"read is the sheet '{sheet.title}'; write sheet: beside file: for another one ({listed(others)})"
        yield 0, said
    hidden = [row.place.line for row in table.rows if sheet.row_dimensions[row.place.line].hidden]
    if hidden:
        some = _numbers(hidden)
        yield (
            hidden[0],
            f"rows that are hidden, as by a filter, are read as the others: {some}; delete them to leave them out",
        )


def _numbers(rows: Sequence[int]) -> str:
    more = f" and {len(rows) - _NAMED:,} more" if len(rows) > _NAMED else ""
    return ", ".join(map(str, rows[:_NAMED])) + more
