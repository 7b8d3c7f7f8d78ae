"""The tables of a contact sheet: which pictures belong into one, in which row and column, and what is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING

from batch.base.text import plural
from batch.records.tasks import Task
from batch.report.sheet import axes

if TYPE_CHECKING:
    from batch.report.sheet.axes import Key, Matrix, SheetAxis

MOST_EMPTY = 12
"""Blocks without any picture that have a line of their own; of more a line says how many."""

MOST_HOLES = 200
"""Cells of a table that wait for their pictures: of more, where they outnumber the pictures, none is drawn."""

MOST_GROUPS = 6
"""Of a table with holes: rows that have the same columns are a table of their own, up to so many."""

_TEXTS = ("prompt", "negative_prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What stands beside rows and above columns, a text for each level; and what they are called when counted."""

    rows: Mapping[Key, tuple[str, ...]]
    columns: Mapping[Key, tuple[str, ...]]
    row: str = "row"
    column: str = "column"
    columns_of: str = ""
    """The axis across, where it is one."""


@dataclass(slots=True, kw_only=True)
class Block:
    """A table of the pictures that share all but what its rows and columns differ in."""

    settings: str
    """What its pictures share, and which part of them it holds."""
    names: Names
    texts: str = ""
    """The prompts that they share."""
    rows: list[Key] = field(default_factory=list)
    columns: list[Key] = field(default_factory=list)
    cells: dict[tuple[Key, Key], Task] = field(default_factory=dict)
    counted: bool = False
    """Every row has columns of its own: they are its first, its second, and so on."""
    origins: dict[tuple[Key, Key], Key] = field(default_factory=dict)
    """Of a counted table: the column that each cell would have elsewhere."""
    left: str = ""
    """What stands below the rows: what has no place among them yet."""

    @property
    def title(self) -> str:
        """What stands above it: last what may be long and be cut, so that tables are told apart."""
        return " · ".join(filter(None, (self.settings, self.texts)))

    def columns_by_row(self, wanted: Callable[[Task], bool] | None = None) -> dict[Key, list[Key]]:
        """The columns of each row that has any, of those cells alone whose task is wanted."""
        found: dict[Key, list[Key]] = {row: [] for row in self.rows}
        for (row, column), task in self.cells.items():
            if row in found and (wanted is None or wanted(task)):
                found[row].append(column)
        return {row: columns for row, columns in found.items() if columns}

    def headed(self) -> bool:
        """Whether something stands above its columns."""
        return not self.counted and any(any(self.names.columns[column]) for column in self.columns)

    def label(self, row: Key, before: Key | None = None) -> str:
        """What stands beside a row or above its picture.

        Of several levels what the one ``before`` says, too, is not said again: that of the row above, or of the
        picture at its left.
        """
        levels = self.names.rows[row]
        known = self.names.rows[before] if before is not None else ()
        if len(levels) > 1 and levels[:-1] == known[:-1]:
            levels = levels[-1:]
        return " · ".join(filter(None, (self._counted_columns(row), *levels)))

    def _counted_columns(self, row: Key) -> str:
        """The values of the axis across, where no column names them: ``seed 10, 12 …``."""
        if not self.counted:
            return ""
        held = [self.names.columns[self.origins[row, key]] for key in self.columns if (row, key) in self.cells]
        words = [" · ".join(filter(None, levels)) for levels in held]
        name = f"{self.names.columns_of} "
        if self.names.columns_of and all(word.startswith(name) for word in words):
            words = [words[0], *(word.removeprefix(name) for word in words[1:])]
        return ", ".join(words[:2]) + (" …" if len(words) > 2 else "")

    def part(self, rows: list[Key], columns: list[Key], suffix: str = "", left: str = "") -> Block:
        """Some of its rows and columns; the suffix goes on in its title."""
        settings = " · ".join(filter(None, (self.settings, suffix)))
        return replace(self, settings=settings, rows=rows, columns=columns, left=left)

    def as_counted(self, own: Mapping[Key, Sequence[Key]]) -> Block:
        """The same pictures without holes, of these columns of its rows."""
        places = {
            (row, (n,)): (row, column) for row, some in own.items() for n, column in enumerate(some, start=1)
        }
        return replace(
            self,
            rows=list(own),
            columns=[(number,) for number in range(1, max(map(len, own.values())) + 1)],
            cells={place: self.cells[before] for place, before in places.items()},
            origins={place: self.origins.get(before, before[1]) for place, before in places.items()},
            counted=True,
        )


def blocks_of(tasks: Sequence[Task], matrix: Matrix) -> list[Block]:
    """A table for each setting, of tasks that stand in the manifest's order; ``matrix`` is of these tasks."""
    rows, columns = _keys(matrix.rows, len(tasks)), _keys(matrix.columns, len(tasks))
    names = Names(
        rows=_labels(rows, matrix.rows, matrix.with_rows),
        columns=_labels(columns, matrix.columns, matrix.with_columns),
        row=_noun(matrix.rows, "row"),
        column=_noun(matrix.columns, "column"),
        columns_of=axes.worded(matrix.columns[0].name) if len(matrix.columns) == 1 else "",
    )
    found: dict[Key, Block] = {}
    for place, (key, task) in enumerate(zip(_keys(matrix.blocks, len(tasks)), tasks, strict=True)):
        if key not in found:
            settings, texts = _shared(matrix.blocks, key)
            found[key] = Block(settings=settings, texts=texts, names=names)
        found[key].cells[rows[place], columns[place]] = task
    across, down = _ranks(matrix.columns), _ranks(matrix.rows)
    for block in found.values():
        block.rows = sorted({row for row, _ in block.cells}, key=down)
        block.columns = sorted({column for _, column in block.cells}, key=across)
    ordered = sorted(found, key=_ranks(matrix.blocks))
    return [part for key in ordered for part in _without_holes(found[key])]


def _shared(some: Sequence[SheetAxis], key: Key) -> tuple[str, str]:
    """Settings and prompts that all pictures of a table have."""
    said = {axis.name: axis.title(value) for axis, value in zip(some, key, strict=True)}
    texts = [text for name, text in said.items() if name in _TEXTS]
    return " · ".join(text for name, text in said.items() if name not in _TEXTS), " · ".join(texts)


def _keys(some: Sequence[SheetAxis], count: int) -> list[Key]:
    return list(zip(*(axis.keys for axis in some), strict=True)) if some else [()] * count


def _ranks(some: Sequence[SheetAxis]) -> Callable[[Key], tuple[int, ...]]:
    """Where a key stands, by the order of its values."""
    places = [{key: place for place, key in enumerate(axis.values)} for axis in some]
    return lambda key: tuple(place[value] for place, value in zip(places, key, strict=True))


def _labels(
    keys: Sequence[Key], some: Sequence[SheetAxis], along: Sequence[SheetAxis]
) -> dict[Key, tuple[str, ...]]:
    """The levels of each label. What goes along stands before the last one, which may be long and be cut."""
    labels: dict[Key, tuple[str, ...]] = {}
    for place, key in enumerate(keys):
        if key not in labels:
            levels = [axis.title(value) for axis, value in zip(some, key, strict=True)]
            more = [axis.title(axis.keys[place]) for axis in along]
            labels[key] = (*levels[:-1], " · ".join([*more, *levels[-1:]]))
    return labels


def _noun(some: Sequence[SheetAxis], other: str) -> str:
    """What is counted: ``prompt``, where that is the axis."""
    name = some[0].name if len(some) == 1 else ""
    return name if name in ("model", "prompt", "seed", "size", "style", "scheduler", "lora") else other


def _without_holes(block: Block) -> list[Block]:
    """A table for each set of columns that many rows share, or one whose columns are counted, or with holes."""
    cells, places = len(block.cells), len(block.rows) * len(block.columns)
    if cells == places:
        return [block]
    own = block.columns_by_row()
    groups: dict[tuple[Key, ...], list[Key]] = {}
    ranks = {column: number for number, column in enumerate(block.columns)}
    for row, columns in own.items():
        groups.setdefault(tuple(sorted(columns, key=ranks.__getitem__)), []).append(row)
    if 1 < len(groups) <= min(MOST_GROUPS, len(block.rows) // 2):
        return [block.part(rows, list(columns)) for columns, rows in groups.items()]
    # More than half empty: a column for every value would be a page for every few pictures.
    return [block.as_counted(own) if 2 * cells < places else block]


def begun_of(blocks: Sequence[Block], begun: Callable[[Task], bool]) -> list[Block]:
    """The blocks without rows and columns in which nothing was begun: a line below them says how much that is."""
    where = " of this table" if len(blocks) > 1 else ""
    found: list[Block] = []
    empty: list[Block] = []
    for block in blocks:
        if own := block.columns_by_row(begun):
            found.append(_begun(block, own, where))
        else:
            empty.append(block)
    if len(empty) > MOST_EMPTY:
        images = sum(_images(block.columns_by_row()) for block in empty)
        settings, left = f"{len(empty)} more settings", _left("", image=images)
        return [*found, replace(empty[0], settings=settings, texts="", rows=[], columns=[], left=left)]
    for block in empty:
        found.append(block.part([], [], left=_left(where, **{block.names.row: len(block.rows)})))
    return found


def _begun(block: Block, own: Mapping[Key, Sequence[Key]], where: str) -> Block:
    """What was begun of a block, of which a row has some columns of its own by now."""
    some = set(chain.from_iterable(own.values()))
    columns = [column for column in block.columns if column in some]
    shown = _images(own)
    if block.counted or len(own) * len(columns) - shown > max(shown, MOST_HOLES):
        images = _images(block.columns_by_row())
        return replace(block.as_counted(own), left=_left(where, image=images - shown))
    counts = {block.names.row: len(block.rows) - len(own)}
    counts[block.names.column] = len(block.columns) - len(columns)
    return block.part(list(own), columns, left=_left(where, **counts))


def _images(own: Mapping[Key, Sequence[Key]]) -> int:
    return sum(map(len, own.values()))


def _left(where: str, **counts: int) -> str:
    """The line that counts what has no cell."""
    said = " and ".join(plural(count, what) for what, count in counts.items() if count)
    return f"{said}{where} not rendered yet" if said else ""
