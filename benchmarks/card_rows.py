"""The figures of a visit: rows as they come, predictions beside them, files that hold them, and the last table.

Every row is on disk before the next one is waited for; predictions are put beside when they are there.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.card_bench import Rates

Value = str | float | int | bool

COLUMNS = ("section", "name", "value", "unit", "predicted", "ratio", "note")

STATUS = "ended"
"""The row that says how a section ended."""

WELL, FAILED = "well", "failed"

FINDING = "FINDING: "
"""Before the note of a row that says that something is not as it should be."""

LINES, WIDTH = 40, 100
"""Of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that something can take on a device: its arithmetic or its bytes, whichever takes longer."""

    flops: float = 0.0
    bytes: float = 0.0
    float32: bool = False
    """The arithmetic is in float32, without tensor cores."""

    def seconds(self, rates: Rates) -> float:
        """On a device of these rates."""
        return max(self.flops / (rates.float32 if self.float32 else rates.matrix), self.bytes / rates.bandwidth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A figure, or why there is none."""

    value: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    section: str
    name: str
    value: Value
    unit: str = ""
    predicted: float | None = None
    note: str = ""
    of: str = ""
    """The key of the prediction that stands beside it."""
    floor: Floor | None = None
    """Or what it is made of; the value is in milliseconds then."""
    headline: bool = False
    """In the table."""

    @property
    def ratio(self) -> float | None:
        """Measured by predicted."""
        number = isinstance(self.value, float | int) and not isinstance(self.value, bool)
        return float(self.value) / self.predicted if number and self.predicted else None

    def beside(self, predictions: Mapping[str, Prediction], rates: Rates | None) -> Row:
        """With its prediction, where that is there."""
        if self.floor is not None and rates is not None:
            return replace(self, predicted=1000 * self.floor.seconds(rates))
        found = predictions.get(self.of)
        if found is None:
            return self
        note = "; ".join(filter(None, (self.note, found.note)))
        return replace(self, predicted=found.value, note=note)

    def cells(self) -> dict[str, Any]:
        """As the files hold it."""
        return {name: _plain(getattr(self, name)) for name in COLUMNS}


def _plain(value: Any) -> Any:
    """Rounded to what a measurement is worth; infinities and NaN, which JSON does not know, as words."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)


class Rows:
    """All rows of a visit, and the two files they are in."""

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "card.jsonl", folder / "card.csv"
        self.all: list[Row] = []
        self.predictions: dict[str, Prediction] = {}
        self.rates: Rates | None = None
        self.unwritten = ""
        """Why not all rows are on disk: the visit goes on, and its table has the headlines."""
        self._safely(lambda: self._write([]))

    def add(self, row: Row) -> None:
        """Keep a row, on disk too."""
        self.all.append(row)
        self._safely(lambda: self._append([row.beside(self.predictions, self.rates)]))

    def _safely(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self.unwritten = self.unwritten or str(error.strerror or error)

    def finish(self) -> list[Row]:
        """Write both files anew with every prediction there is; the rows as they stand there."""
        rows = [row.beside(self.predictions, self.rates) for row in self.all]
        self._safely(lambda: self._write(rows))
        return rows

    def _write(self, rows: Sequence[Row]) -> None:
        lines, table = (path.with_suffix(path.suffix + ".new") for path in self._paths)
        try:
            lines.write_text("")
            with table.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(COLUMNS)
            self._append(rows, lines, table)
            for new, path in zip((lines, table), self._paths, strict=True):
                new.replace(path)
        finally:
            for new in (lines, table):
                new.unlink(missing_ok=True)

    def _append(self, rows: Sequence[Row], lines: Path | None = None, table: Path | None = None) -> None:
        with (lines or self._paths[0]).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row.cells(), ensure_ascii=False) + "\n" for row in rows)
        with (table or self._paths[1]).open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writerows(row.cells() for row in rows)
            file.flush()
            os.fsync(file.fileno())


# The table


def table(rows: Sequence[Row], sections: Sequence[tuple[int, str]], where: Path, seconds: float) -> list[str]:
    """The headlines of every section, which sections did not end well, and where all the rest is."""
    head = f"{'':2} {'section':11} {'what':31} {'measured':>14} {'predicted':>9} {'ratio':>5}  note"
    unwell = [
        f"{number} {name} ({row.value})"
        for number, name in sections
        for row in rows
        if row.section == name and row.name == STATUS and row.value != WELL
    ]
    foot = [
        _cut(f"not well: {', '.join(unwell)}" if unwell else "every section ended well"),
        _cut(f"{seconds:.0f} s; {len(rows)} rows in {where / 'card.csv'} and card.jsonl, output in card.log"),
    ]
    lines = [[_line(number, name, row) for row in _headlines(name, rows)] for number, name in sections]
    while sum(map(len, lines)) > LINES - len(foot) - 2:
        max(lines, key=len).pop()  # the last of the section that has most
    return [_cut(head), *(line for each in lines for line in each), "", *foot]


def _headlines(section: str, rows: Sequence[Row]) -> list[Row]:
    """Of one section, findings first."""
    found = [row for row in rows if row.section == section and row.headline]
    return sorted(found, key=lambda row: not row.note.startswith(FINDING))


def _line(number: int, section: str, row: Row) -> str:
    measured = f"{_shown(row.value)} {row.unit}".strip()
    predicted = "" if row.predicted is None else _shown(row.predicted)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    note = row.note.splitlines()[0] if row.note else ""
    name = f"! {row.name}" if note.startswith(FINDING) else row.name
    return _cut(f"{number:2} {section:11} {name[:31]:31} {measured:>14} {predicted:>9} {ratio:>5}  {note}")


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
