"""The parts of a manifest that hold axes: grid, zip, rows, include and exclude, as grids and rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

from batch.base.errors import ManifestError, Problem, also_in
from batch.manifest.axes import axis, axis_meant, unknown_axis
from batch.manifest.columns import FROM_RUN, UNREAD, is_results, named_as_axes, nameless, with_size
from batch.manifest.document import Location, Place, Yaml
from batch.manifest.entries import Axes, EntryReader
from batch.manifest.files import Problems, referenced
from batch.manifest.rows import Table, TableRow
from batch.manifest.schema import Entry, Factor, Grid, Rule
from batch.manifest.table_cells import read_cell
from batch.manifest.tables import TABLE_SUFFIXES, read_table
from batch.manifest.values import RandomSeeds, shortened, suggest

_NEEDED = ("model", "prompt")
_FOR_ALL = {"model": "; --set model=NAME sets one for all", "prompt": ""}
_NO_TABLE = Table((), (), Place("", 0), typed=False)
"""In place of one that cannot be read: the problem is noted, and there are no rows."""


@dataclass(slots=True)
class GridReader:
    """Reads the axes of one manifest; what is wrong goes to ``problems``."""

    sections: Mapping[str, Yaml]
    entries: EntryReader
    problems: Problems
    _told: set[str] = field(default_factory=set)
    """Kinds of remarks on cells: one of each will do."""

    def grids(self) -> tuple[Grid, ...]:
        """The main grid or one grid per row of the table, then one per entry of ``include``."""
        written = self.sections.get("grid")
        shared = self.entries.axes(written if isinstance(written, dict) else {}, ("grid",))
        zipped = self._zips(shared)
        table = self._table(shared, zipped)
        if table is not None:
            grids = [self._row_grid(row, table, shared, zipped) for row in table.rows]
        else:
            main = _grid(shared, zipped, self.problems.document.place(("grid",)))
            # With ``include`` alone the grid may only hold what the entries share.
            shared_only = "prompt" not in main.names() and bool(self.sections.get("include")) and not zipped
            grids = [] if shared_only else [main]
            for needed in _lacking(main) if grids else ():
                self.problems.add(("grid",), f"the grid needs '{needed}'")
        grids += self._included(shared, zipped)
        # What ``--set`` gives must win everywhere, or be refused: a value closer to a prompt would beat it.
        given = {name: entries[0].place for name, entries in shared.items() if entries and _is_set(entries[0])}
        for name, place in given.items():
            own = (next((item for item in grid.entries(name) if not _is_set(item)), None) for grid in grids)
            self._note_closer(name, place, dict.fromkeys(item.place for item in own if item is not None))
        self._check_loras(grids)
        return tuple(grids)

    def _note_closer(self, name: str, place: Place, closer: Iterable[Place]) -> None:
        """Places that beat what ``--set`` gives: of each file the first, and where else."""
        files: dict[str, list[int]] = {}
        for source, line in closer:
            files.setdefault(source, []).append(line)
        for source, lines in files.items():
            here = Place(source, min(lines))
            others = also_in(sorted(lines)[1:])
            self._note(place, f"{here} sets '{name}' itself; edit it there{others}")

    def _check_loras(self, grids: Iterable[Grid]) -> None:
        """A prompt's own LoRAs would take the place of the grid's without a word."""
        named = {id(entry): entry for entry in self.entries.with_loras}
        for grid in grids if named else ():
            factors = [factor for factor in grid.factors if "lora" in factor.names]
            others = [entry for factor in factors for row in factor.rows for entry in row if entry.value]
            if others and any(id(entry) in named for entry in grid.entries("prompt")):
                place = others[0].place
                self._note(
                    place, "lora: prompts name LoRAs in their text, which these would not join; write all here"
                )

    def _note(self, place: Place, message: str) -> None:
        self.problems.found.append(Problem(*place, message))

    def _listed(self, name: str) -> Iterator[tuple[Location, dict[str, Yaml]]]:
        """The entries of a section that is a list of mappings; anything else is said by the schema."""
        written = self.sections.get(name)
        for index, entry in enumerate(written if isinstance(written, list) else ()):
            if isinstance(entry, dict):
                yield (name, index), entry

    def _zips(self, shared: Axes) -> list[Factor]:
        factors: list[Factor] = []
        for location, entry in self._listed("zip"):
            if not entry:
                self.problems.add(location, "zip: the group is empty")
            axes = {name: _one_by_one(found) for name, found in self.entries.axes(entry, location).items()}
            for name in axes:
                other = "the grid" if name in shared else "another zip group"
                if name in shared and any(map(_is_set, shared[name])):
                    continue  # what --set gives is checked in every grid
                if name in shared or any(name in factor.names for factor in factors):
                    self.problems.add((*location, name), f"zip: '{name}' stands in {other} too; keep one")
            lengths = {name: len(values) for name, values in axes.items()}
            if len(set(lengths.values())) > 1 and all(lengths.values()):
                counts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                self.problems.add(location, f"zip: what moves together needs as many values each; {counts}")
            elif len(set(lengths.values())) == 1:
                factors.append(Factor(tuple(axes), tuple(zip(*axes.values(), strict=True))))
        return factors

    def _included(self, shared: Axes, zipped: list[Factor]) -> Iterator[Grid]:
        defaults = shared | {
            name: tuple(row[index] for row in factor.rows)
            for factor in zipped
            for index, name in enumerate(factor.names)
        }
        for location, entry in self._listed("include"):
            own = self.entries.axes(entry, location)
            for name, values in defaults.items():
                if name not in own and name not in entry and len(values) > 1:
                    message = f"include: '{name}' has {len(values)} values in the grid; name the one that is meant"
                    self.problems.add(location, message)
            grid = _grid({**defaults, **own}, [], self.problems.document.place(location), "include")
            for needed in _lacking(grid):
                self.problems.add(location, f"include: '{needed}' is missing, here and in the grid")
            yield grid

    def _table(self, shared: Axes, zipped: list[Factor]) -> Table | None:
        written = self.sections.get("rows")
        if not isinstance(written, dict):
            return None
        file, sheet = written.get("file"), written.get("sheet", "")
        if set(written) - {"sheet"} != {"file"} or not isinstance(file, str) or not isinstance(sheet, str):
            self.problems.add(("rows",), "rows: write {file: shots.csv}, or {file: shots.xlsx, sheet: Night}")
            return _NO_TABLE
        try:
            table = read_table(referenced(file, self.entries.folder, TABLE_SUFFIXES), sheet)
        except ValueError as error:
            self.problems.add(("rows", "file"), f"rows: {error}")
            return _NO_TABLE
        except ManifestError as error:
            self.problems.extend(error.problems)
            return _NO_TABLE
        if is_results(table):
            self._note(table.header, f"this is the table of a run; {FROM_RUN} makes a manifest of it")
            return _NO_TABLE
        table = named_as_axes(with_size(table))
        if not table.typed and not any(map(_like_an_axis, table.columns)):
            self._note(table.header, nameless(table))
            return _NO_TABLE
        for name in table.columns:
            if axis(name) is None and not name.startswith(UNREAD):
                left = f"Remove it, or call it {UNREAD}{shortened(name)}: such columns are left out"
                hint = unknown_axis(name) + ("" if axis_meant(name) else f". {left}")
                self._note(table.named(name), f"the column '{name}' is no axis; {hint}")
            if any(name in factor.names for factor in zipped):
                self._note(table.named(name), f"the column '{name}' stands in zip too; keep one")
        for needed in _missing(table, (*shared, *chain.from_iterable(factor.names for factor in zipped))):
            self._note(
                table.header, f"there is no column '{needed}', and the grid has none either{_FOR_ALL[needed]}"
            )
        if not table.rows:
            self._note(table.header, "there is no row below the header")
        for said in table.remarks:
            self.problems.remark(Place(said.source, said.line), said.message)
        return table

    def _row_grid(self, row: TableRow, table: Table, shared: Axes, zipped: list[Factor]) -> Grid:
        own: Axes = {}
        for name, cell in row.cells.items():
            if axis(name) is None or (cell in ("", None) and not (table.typed and cell == "")):
                continue
            try:
                items = self._items(name, cell, row.place, table)
                found = [self.entries.entries(name, item, row.place) for item in items]
                own[name] = tuple(chain.from_iterable(found))
            except ValueError as error:
                self._note(row.place, f"{name}: {error}")
                own[name] = ()
            except ManifestError as error:
                for problem in error.problems:
                    self._note(row.place, f"{name}: {problem.message}")
                own[name] = ()
        grid = _grid({**shared, **own}, zipped, row.place, "row")
        for needed in _lacking(grid):
            if needed in table.columns:  # else that is said of the header
                self._note(row.place, f"this row has no {needed}, and the grid has none either{_FOR_ALL[needed]}")
        return grid

    def _items(self, name: str, cell: Yaml, place: Place, table: Table) -> list[Yaml]:
        """The values of a cell: ``a|b`` is two, save in a text, which is taken as it is; JSON says itself."""
        if table.typed:
            return cell if isinstance(cell, list) else [cell]
        found = axis(name)
        if found is not None and found.text:
            return [cell]
        items, remarks = read_cell(name, str(cell), comma=table.decimal_comma)
        for kind, message in remarks:
            if kind not in self._told:
                self._told.add(kind)
                self.problems.remark(place, f"{name}: {message}")
        return items

    def rules(self, grids: tuple[Grid, ...]) -> tuple[Rule, ...]:
        """The entries of ``exclude``."""
        known: dict[str, None] = {}
        for grid in grids:
            if grid.kind != "include":
                known |= dict.fromkeys([*grid.names(), *grid.own_names()])
        return tuple(self._rule(location, entry, list(known)) for location, entry in self._listed("exclude"))

    def _rule(self, location: Location, entry: Mapping[str, Yaml], known: list[str]) -> Rule:
        if not entry:
            self.problems.add(location, "exclude: an empty entry would leave out everything")
        conditions: dict[str, tuple[object, ...]] = {}
        for name, value in entry.items():
            if name not in known:
                hint = suggest(name, known)
                self.problems.add((*location, name), f"exclude: no axis '{name}' in the grid; {hint}")
                continue
            place = self.problems.document.place(location)
            try:
                items = value if isinstance(value, list) else [value]
                entries = [self.entries.entries(name, item, place) for item in items]
                found = [result.value for result in chain.from_iterable(entries)]
                if any(isinstance(value, RandomSeeds) for value in found):
                    raise ValueError("seeds drawn at random cannot be left out by name")
                conditions[name] = tuple(found)
            except ValueError as error:
                self.problems.add((*location, name), f"exclude: {name}: {error}")
        return Rule(conditions, self.problems.document.place(location))


def _grid(
    axes: Axes, zipped: list[Factor], place: Place, kind: Literal["grid", "row", "include"] = "grid"
) -> Grid:
    single = [Factor((name,), tuple((entry,) for entry in entries)) for name, entries in axes.items()]
    return Grid((*single, *zipped), place, kind)


def _lacking(grid: Grid) -> list[str]:
    return [needed for needed in _NEEDED if needed not in grid.names()]


def _like_an_axis(column: str) -> bool:
    return column.startswith(UNREAD) or bool(axis_meant(column))


def _missing(table: Table, given: Collection[str]) -> list[str]:
    """What neither the grid nor a column gives; a column whose name is a slip is told by itself."""
    named = {axis_meant(name) for name in table.columns}
    return [needed for needed in _NEEDED if needed not in named and needed not in given]


def _is_set(entry: Entry) -> bool:
    return entry.place.source.startswith("--set ")


def _one_by_one(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Four random seeds are four values where they move together with others."""
    found: list[Entry] = []
    for entry in entries:
        seeds = entry.value
        drawn = isinstance(seeds, RandomSeeds)
        found += [Entry(replace(seeds, count=1), entry.place)] * seeds.count if drawn else [entry]
    return tuple(found)
