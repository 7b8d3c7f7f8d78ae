"""What the parts of a workbook ask for, counted as they stream by: before openpyxl makes an object of each."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from xml.parsers import expat

from batch.manifest.limits import SHEET_CELLS
from batch.manifest.values import shown

_FONTS = ("r", "rPr", "rFont", "sz", "color", "family", "scheme", "charset", "b", "i", "u", "strike", "vertAlign")
_COSTS = {"c": 2, "v": 0, "f": 0, "is": 0, **dict.fromkeys(("row", "si", "t", *_FONTS), 1)}
"""Of what sheets are made of: cells with their values, texts and their fonts. A unit takes openpyxl some 4 µs."""
_OTHER = 10
"""Of every other element, and of each cell of a range that openpyxl spreads out."""
_SPREAD = ("mergeCell", "hyperlink")
_COLUMNS, _ROWS = 2**14, 2**20
"""Of a whole sheet."""
_PIECE = 64 * 1024


class TooMuch(Exception):  # noqa: N818 - it is what it says
    """What there is too much of."""


class _NotOurs(Exception):  # noqa: N818 - nothing is wrong with it here
    """A part that declares entities, which openpyxl refuses."""


_DAMAGED = (
    expat.ExpatError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
)


def check_parts(packed: zipfile.ZipFile) -> None:
    """Raises :class:`TooMuch` for parts that would take more time and memory than a sheet may.

    What is no XML, or damaged, is left to openpyxl.
    """
    count = _Count()
    for part in packed.infolist():
        with suppress(_NotOurs, EOFError, *_DAMAGED):
            _scan(packed, part, count)


def _scan(packed: zipfile.ZipFile, part: zipfile.ZipInfo, count: _Count) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = count.element
    parser.EntityDeclHandler = _refuse
    with packed.open(part) as file:
        while piece := file.read(_PIECE):
            parser.Parse(piece)


def _refuse(*_: object) -> None:
    raise _NotOurs


class _Count:
    def __init__(self) -> None:
        self._cost = 0

    def element(self, name: str, attributes: Mapping[str, str]) -> None:
        kind = name.rpartition(" ")[2]
        self._cost += _COSTS.get(kind, _OTHER)
        if kind in _SPREAD:
            ref = attributes.get("ref", "")
            self._cost += _OTHER * _cells(ref)
            if self._cost > SHEET_CELLS:
                merged = "merged" if kind == "mergeCell" else "one link"
                raise TooMuch(
                    f"the cells {shown(ref)} are {merged}, more than can be read; part them, or save it as CSV"
                )
        elif "sqref" in attributes:
            self._cost += _OTHER * attributes["sqref"].count(" ")
        if self._cost > SHEET_CELLS:
            raise TooMuch(
                f"its sheets hold more than is read of {SHEET_CELLS:,} cells; delete what lies far out and what "
                "formats empty cells, or save it as CSV"
            )


def _cells(ref: str) -> int:
    """Of a range, which may have no rows or no columns; 0 for what is none, which openpyxl refuses."""
    from openpyxl.utils import range_boundaries

    try:
        left, top, right, bottom = range_boundaries(ref)
    except (ValueError, TypeError):
        return 0
    columns = right - left + 1 if left and right else _COLUMNS
    rows = bottom - top + 1 if top and bottom else _ROWS
    return max(0, int(columns)) * max(0, int(rows))
