"""Which columns of a table are axes, which one holds prompts, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batch.base.errors import ManifestError, Problem
from batch.manifest.axes import AXES, axis_meant, folded
from batch.manifest.rows import Table, TableRow
from batch.manifest.values import listed, shown, suggest

UNREAD = "_"
"""A column whose name begins so is for who keeps the table."""
FROM_RUN = "`run_batch.py manifest from RUN`"

_PROMPTS = frozenset({
    "prompt", "prompts", "positive", "positive_prompt", "text", "texts", "caption", "captions", "description",
    "descriptions",
})  # fmt: skip
"""What the only column of a list of prompts is called, where it is not the first prompt itself."""


def is_results(table: Table) -> bool:
    """Whether it is the results.csv of a run."""
    return {"task_id", "picture_id"} <= set(table.columns)


def named_as_axes(table: Table) -> Table:
    """The table with ``Negative Prompt`` as ``negative_prompt``, as long as no column has that name already."""
    names = {
        name: folded(name)
        for name in table.columns
        if name not in AXES and folded(name) in AXES and folded(name) not in table.columns
    }
    if not names or len(set(names.values())) < len(names):
        return table
    columns = tuple(names.get(name, name) for name in table.columns)
    rows = tuple(
        TableRow(row.place, {names.get(name, name): cell for name, cell in row.cells.items()})
        for row in table.rows
    )
    return replace(table, columns=columns, rows=rows)


def with_size(table: Table) -> Table:
    """The table with one column ``size`` in place of ``width`` and ``height``, as other programs write it."""
    named = {folded(name): name for name in table.columns}
    if not {"width", "height"} <= named.keys() or "size" in named or len(named) < len(table.columns):
        return table
    pair = named["width"], named["height"]
    columns = tuple("size" if name == pair[0] else name for name in table.columns if name != pair[1])
    return replace(table, columns=columns, rows=tuple(_sized(row, *pair) for row in table.rows))


def _sized(row: TableRow, width: str, height: str) -> TableRow:
    cells = dict(row.cells)
    pair = ["" if cell is None else str(cell).strip() for cell in (cells.pop(width, ""), cells.pop(height, ""))]
    return TableRow(row.place, cells | {"size": "x".join(pair) if any(pair) else None})


def nameless(table: Table) -> str:
    """What to say of a table in which no column has the name of an axis: its first line may be a prompt."""
    named = shown(table.columns[0]) if table.columns else "this line"
    return (
        f"{named} is taken for the name of a column, and no column here is an axis; "
        "write a line with the names above it, for example 'prompt'"
    )


def text_column(table: Table, column: str | None, known: Sequence[str] = ()) -> str:
    """The column that holds the prompts: the one that is named, else ``prompt``, else the only one there is.

    The only one has the name of a list of prompts, or one of those ``known``: anything else is a list without a
    header, whose first prompt would be lost. Raises :class:`ManifestError`.
    """
    if column is None and len(table.columns) == 1:
        (name,) = table.columns
        if table.typed or folded(name) in _PROMPTS.union(known):
            return name
        said = f"{shown(name)} is taken for the column's name; write '{next(iter(known), 'prompt')}' above it"
        raise ManifestError([Problem(*table.header, f"{said}, or column: beside file: if it is one")])
    name = column or next((name for name in table.columns if folded(name) == "prompt"), "prompt")
    if name not in table.columns:
        raise ManifestError(
            [Problem(*table.header, f"there is no column '{name}'; {suggest(name, table.columns)}")]
        )
    return name


def not_read(table: Table, column: str, file: str) -> str:
    """What to say of columns that hold values of axes beside the prompts; nothing where there are none."""
    others = [
        name for name in table.columns if name != column and not name.startswith(UNREAD) and axis_meant(name)
    ]
    if not others:
        return ""
    instead = FROM_RUN if is_results(table) else f"rows: {{file: {file}}}"
    named = f"column {others[0]} is" if len(others) == 1 else f"columns {_with_and(others)} are"
    return f"the {named} not read here; {instead} takes {'it' if len(others) == 1 else 'them all'}"


def _with_and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) <= 5 else listed(words)
