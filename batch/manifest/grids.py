"""The parts of a manifest that hold axes: grid, zip, rows, include and exclude, as grids and rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from batch.base.errors import ManifestError, Problem
from batch.manifest.axes import AXES, axis, unknown_axis
from batch.manifest.document import Location, Place, core_scalar, parse
from batch.manifest.files import Problems, referenced
from batch.manifest.prompts import Prompts
from batch.manifest.schema import Entry, Factor, Grid, Rule
from batch.manifest.tables import TABLE_SUFFIXES, Row, Table, read_prompts, read_table
from batch.manifest.values import RandomSeeds, shown, suggest
from batch.manifest.values import text as checked_text

Axes = dict[str, tuple[Entry, ...]]
_NEEDED = ("model", "prompt")
_NO_TABLE = Table((), (), Place("", 0), typed=False)
"""In place of one that cannot be read: the problem is noted, and there are no rows."""


@dataclass(slots=True)
class GridReader:
    """Reads the axes of one manifest; what is wrong goes to ``problems``."""

    data: Mapping[str, Any]
    folder: Path
    prompts: Prompts
    problems: Problems

    def grids(self) -> tuple[Grid, ...]:
        """The main grid or one grid per row of the table, then one per entry of ``include``."""
        shared = self._axes(self._section("grid"), ("grid",))
        zipped = self._zips(shared)
        table = self._table(zipped)
        if table is not None:
            grids = [self._row_grid(row, table, shared, zipped) for row in table.rows]
        else:
            grids = self._main(shared, zipped)
        grids += self._included(shared, zipped)
        self._check_set(shared, grids)
        return tuple(grids)

    def _check_set(self, shared: Axes, grids: list[Grid]) -> None:
        """What ``--set`` gives must win everywhere, or be refused: a value closer to a prompt would beat it."""
        given = {name: entries[0].place for name, entries in shared.items() if entries and _is_set(entries[0])}
        for grid in grids:
            for name, place in given.items():
                closer = next((entry.place for entry in grid.entries(name) if not _is_set(entry)), None)
                if closer is not None:
                    self.problems.found.append(
                        _at(place, f"{closer.source}:{closer.line} sets '{name}' itself; edit it there")
                    )

    def _section(self, name: str) -> dict[str, Any]:
        written = self.data.get(name)
        return written if isinstance(written, dict) else {}

    def _entries(self, name: str) -> Iterator[tuple[Location, dict[str, Any]]]:
        written = self.data.get(name)
        for index, entry in enumerate(written if isinstance(written, list) else ()):
            if isinstance(entry, dict):  # anything else is said by the schema
                yield (name, index), entry

    # One axis

    def _axes(self, written: Mapping[str, Any], location: Location) -> Axes:
        axes: Axes = {}
        for name, value in written.items():
            if axis(name) is None:
                self.problems.add((*location, name), f"unknown axis '{name}'; {unknown_axis(name)}")
            else:
                axes[name] = self._values(name, value, (*location, name))
        return axes

    def _values(self, name: str, written: Any, location: Location) -> tuple[Entry, ...]:
        if written == []:
            self.problems.add(location, f"'{name}' is an empty list; give a value or remove it")
        many = isinstance(written, list)
        entries: list[Entry] = []
        for index, item in enumerate(written if many else [written]):
            where = (*location, index) if many else location
            try:
                entries.extend(self._value(name, item, where))
            except ValueError as error:
                self.problems.add(where, f"{name}: {error}")
            except ManifestError as error:
                self.problems.extend(error.problems)
        return tuple(entries)

    def _value(self, name: str, item: Any, where: Location) -> list[Entry]:
        if name == "prompt" and isinstance(item, dict):
            return self._prompt_mapping(item, where)
        return self._plain(name, item, self.problems.document.place(where))

    def _plain(self, name: str, item: Any, place: Place) -> list[Entry]:
        read = self.prompts.read if name == "prompt" else lambda value: value
        return [Entry(read(value), place) for value in read_value(name, item)]

    def _prompt_mapping(self, item: dict[str, Any], where: Location) -> list[Entry]:
        if "file" in item:
            return self._prompt_file(item, where)
        if "text" not in item:
            raise ValueError("a mapping is {file: prompts.txt}, or {text: …} with values of its own")
        value = self.prompts.read(AXES["prompt"].read(item["text"]))
        rest = {key: item[key] for key in item if key != "text"}
        if "prompt" in rest:
            raise ValueError("'text' is the prompt; remove 'prompt'")
        return [Entry(value, self.problems.document.place(where), self._axes(rest, where))]

    def _prompt_file(self, item: dict[str, Any], where: Location) -> list[Entry]:
        for key, value in item.items():
            if key not in ("file", "column"):
                raise ValueError(f"unknown key '{key}' beside 'file'; possible is 'column'")
            if not isinstance(value, str) or not value:
                raise ValueError(f"{key}: {shown(value)} is not a name")
        path = referenced(item["file"], self.folder)
        entries = []
        for text, place in read_prompts(path, item.get("column")):
            try:
                entries.append(Entry(self.prompts.read(checked_text(text)), place))
            except ValueError as error:
                self.problems.found.append(_at(place, f"prompt: {error}"))
        if not entries:
            self.problems.add(where, f"prompt: {path} holds no prompt")
        return entries

    # Groups of axes

    def _main(self, shared: Axes, zipped: list[Factor]) -> list[Grid]:
        """The grid; with ``include`` alone it may only hold what the entries share."""
        grid = _grid(shared, zipped, self.problems.document.place(("grid",)))
        if "prompt" not in grid.names() and self.data.get("include") and not zipped:
            return []
        self._needs(grid, ("grid",))
        return [grid]

    def _needs(self, grid: Grid, location: Location | None) -> None:
        for needed in _NEEDED:
            if needed in grid.names():
                continue
            if location is None:
                message = f"this row has no {needed}, and the grid has none either"
                self.problems.found.append(_at(grid.place, message))
            elif location == ("grid",):
                self.problems.add(location, f"the grid needs '{needed}'")
            else:
                self.problems.add(location, f"include: '{needed}' is missing, here and in the grid")

    def _zips(self, shared: Axes) -> list[Factor]:
        factors: list[Factor] = []
        for location, entry in self._entries("zip"):
            if not entry:
                self.problems.add(location, "zip: the group is empty")
            axes = {name: tuple(_one_by_one(values)) for name, values in self._axes(entry, location).items()}
            for name in axes:
                other = "the grid" if name in shared else "another zip group"
                if name in shared and any(map(_is_set, shared[name])):
                    continue  # said by _check_set
                if name in shared or any(name in factor.names for factor in factors):
                    self.problems.add((*location, name), f"zip: '{name}' stands in {other} too; keep one")
            lengths = {name: len(values) for name, values in axes.items()}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                self.problems.add(location, f"zip: what moves together needs as many values each; {counts}")
            elif axes:
                factors.append(Factor(tuple(axes), tuple(zip(*axes.values(), strict=True))))
        return factors

    def _included(self, shared: Axes, zipped: list[Factor]) -> Iterator[Grid]:
        defaults = shared | {
            name: tuple(row[index] for row in factor.rows)
            for factor in zipped
            for index, name in enumerate(factor.names)
        }
        for location, entry in self._entries("include"):
            own = self._axes(entry, location)
            for name, values in defaults.items():
                if name not in own and name not in entry and len(values) > 1:
                    message = f"include: '{name}' has {len(values)} values in the grid; name the one that is meant"
                    self.problems.add(location, message)
            grid = _grid({**defaults, **own}, [], self.problems.document.place(location), "include")
            self._needs(grid, location)
            yield grid

    # Tables

    def _table(self, zipped: list[Factor]) -> Table | None:
        written = self.data.get("rows")
        if not isinstance(written, dict):
            return None
        if set(written) != {"file"} or not isinstance(written["file"], str):
            self.problems.add(("rows",), "rows: write {file: shots.csv}")
            return _NO_TABLE
        try:
            table = read_table(referenced(written["file"], self.folder, TABLE_SUFFIXES))
        except ValueError as error:
            self.problems.add(("rows", "file"), f"rows: {error}")
            return _NO_TABLE
        except ManifestError as error:
            self.problems.extend(error.problems)
            return _NO_TABLE
        for name in table.columns:
            if axis(name) is None:
                self.problems.found.append(
                    _at(table.header, f"the column '{name}' is no axis; {unknown_axis(name)}")
                )
            if any(name in factor.names for factor in zipped):
                self.problems.found.append(_at(table.header, f"the column '{name}' stands in zip too; keep one"))
        if not table.rows:
            self.problems.found.append(_at(table.header, "there is no row below the header"))
        return table

    def _row_grid(self, row: Row, table: Table, shared: Axes, zipped: list[Factor]) -> Grid:
        own: Axes = {}
        for name, cell in row.cells.items():
            if axis(name) is None or (cell in ("", None) and not (table.typed and cell == "")):
                continue
            try:
                items = _parts(name, cell) if not table.typed else cell if isinstance(cell, list) else [cell]
                own[name] = tuple(entry for item in items for entry in self._plain(name, item, row.place))
            except ValueError as error:
                self.problems.found.append(_at(row.place, f"{name}: {error}"))
                own[name] = ()
            except ManifestError as error:
                self.problems.extend(_at(row.place, f"{name}: {problem.message}") for problem in error.problems)
                own[name] = ()
        grid = _grid({**shared, **own}, zipped, row.place, "row")
        self._needs(grid, None)
        return grid

    # Exclude

    def rules(self, grids: tuple[Grid, ...]) -> tuple[Rule, ...]:
        """The entries of ``exclude``."""
        known: dict[str, None] = {}
        for grid in grids:
            if grid.kind != "include":
                known |= dict.fromkeys([*grid.names(), *grid.own_names()])
        return tuple(self._rule(location, entry, list(known)) for location, entry in self._entries("exclude"))

    def _rule(self, location: Location, entry: dict[str, Any], known: list[str]) -> Rule:
        if not entry:
            self.problems.add(location, "exclude: an empty entry would leave out everything")
        conditions: dict[str, tuple[Any, ...]] = {}
        for name, value in entry.items():
            if name not in known:
                hint = suggest(name, known)
                self.problems.add((*location, name), f"exclude: no axis '{name}' in the grid; {hint}")
                continue
            items = value if isinstance(value, list) else [value]
            try:
                found = [result for item in items for result in read_value(name, item)]
                if any(isinstance(value, RandomSeeds) for value in found):
                    raise ValueError("seeds drawn at random cannot be left out by name")
                conditions[name] = tuple(map(self.prompts.read, found) if name == "prompt" else found)
            except ValueError as error:
                self.problems.add((*location, name), f"exclude: {name}: {error}")
        return Rule(conditions, self.problems.document.place(location))


def read_value(name: str, item: Any) -> list[Any]:
    """What one written value of an axis means: one value, or several for a range. Raises ``ValueError``."""
    found = axis(name)
    assert found is not None  # callers have checked the name
    result = found.read(item)
    return result if found.many else [result]


def _grid(
    axes: Axes, zipped: list[Factor], place: Place, kind: Literal["grid", "row", "include"] = "grid"
) -> Grid:
    single = [Factor((name,), tuple((entry,) for entry in entries)) for name, entries in axes.items()]
    return Grid((*single, *zipped), place, kind)


def _is_set(entry: Entry) -> bool:
    return entry.place.source.startswith("--set ")


def _one_by_one(entries: tuple[Entry, ...]) -> Iterator[Entry]:
    """Four random seeds are four values where they move together with others."""
    for entry in entries:
        if isinstance(entry.value, RandomSeeds):
            yield from [Entry(RandomSeeds(1), entry.place)] * entry.value.count
        else:
            yield entry


def _parts(name: str, cell: str) -> list[Any]:
    """The values of a cell: ``a|b`` is two, save in a text, which is taken as it is."""
    found = axis(name)
    if found is not None and found.text:
        return [cell]
    return [_cell_value(part.strip()) for part in cell.split("|")]


def _cell_value(text: str) -> Any:
    if text.startswith(("{", "[")):
        return parse(text, "cell").data
    return core_scalar(text)


def _at(place: Place, message: str) -> Problem:
    return Problem(*place, message)
