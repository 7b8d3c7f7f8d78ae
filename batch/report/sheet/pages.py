"""Tables cut to fit, side by side and below one another: what stands on which page of a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from batch.report.lettering.lines import clean, lines_within, paragraph
from batch.report.sheet.layout import (
    COLUMN_GAP,
    GAP,
    MARGIN,
    MOST_LINES,
    SheetTable,
    TableShelf,
    picture_size,
)

if TYPE_CHECKING:
    from batch.report.lettering.lines import TextLine
    from batch.report.sheet.axes import Key
    from batch.report.sheet.blocks import Block
    from batch.report.sheet.layout import Letters, Paper

NARROW = 64
"""Pixels across of a column at least, for what stands above it."""
LONGEST = 1.5
"""Times as high as wide is a table at most before it is set side by side."""
WIDEST = 3
"""Times as wide as high is a table at most, where it can be."""


def pages_of(blocks: Sequence[Block], paper: Paper) -> Iterator[list[TableShelf]]:
    """Blocks cut to fit, gathered into pages: below one another, and narrow ones side by side."""
    page: list[TableShelf] = []
    used = 0
    for shelf in _shelves([table for block in blocks for table in _cut(block, paper)], paper):
        if page and used + shelf.height > paper.room:
            yield page
            page, used = [], 0
        page.append(shelf)
        used += shelf.height
    if page:
        yield page


def _shelves(tables: Sequence[SheetTable], paper: Paper) -> Iterator[TableShelf]:
    """Tables that would be a long column stand side by side, as many as fit."""
    widest = max((table.width for table in tables), default=0)
    is_long = sum(table.height for table in tables) > LONGEST * widest
    room = min(paper.target, paper.width - 2 * MARGIN) + COLUMN_GAP
    for start, end in _runs([table.width + COLUMN_GAP for table in tables], room if is_long else 0):
        some = tables[start:end]
        yield TableShelf(tables=(_alone(some[0], paper),) if len(some) == 1 else _level(some, paper.room))


def _alone(table: SheetTable, paper: Paper) -> SheetTable:
    """A table with nothing at its side: its title goes on beyond its pictures."""
    room = max(table.width, min(table.letters.narrowest, paper.width - 2 * MARGIN))
    return replace(table, title=_title(table.block, room, table.letters))


def _level(tables: Sequence[SheetTable], room: int) -> tuple[SheetTable, ...]:
    """Tables side by side whose rows begin at one height, unless one would need more than a page then."""
    top = max((table.top for table in tables if table.heights), default=0)
    level = tuple(replace(table, lead=top - table.top) if table.heights else table for table in tables)
    return level if all(table.height <= room for table in level) else tuple(tables)


def _cut(block: Block, paper: Paper) -> Iterator[SheetTable]:
    """Parts of a block that are no wider and no higher than a page."""
    sizes = _sizes(block, paper)
    across = _bands(block, sizes, paper)
    for left, right in across or [(0, 0)]:
        columns = block.columns[left:right]
        part = block.part(block.rows, columns, _columns_said(block, columns) if len(across) > 1 else "")
        whole = _measured(part, sizes, paper)
        down = list(_rows(whole, paper))
        for top, bottom in down:
            more = f"{block.names.row}s {top + 1} to {bottom}" if len(down) > 1 else ""
            last = (right, bottom) == (len(block.columns), len(block.rows))
            piece = part.part(block.rows[top:bottom], columns, more, block.left if last else "")
            yield _measured(piece, sizes, paper, whole)


def _bands(block: Block, sizes: _Sizes, paper: Paper) -> list[tuple[int, int]]:
    """Which columns stand in one row of tables: a strip of many columns becomes several below one another."""
    widths = [sizes.widths[key] + GAP for key in block.columns]
    high = sum(sizes.heights.values()) + GAP * len(block.rows)
    bands = max(1, math.ceil(math.sqrt(sum(widths) / max(1, WIDEST * high))))
    if sum(widths) <= paper.target:
        bands = 1
    each = -(-len(widths) // bands)
    room = paper.width - 2 * MARGIN - paper.letters.label - 2 * GAP - COLUMN_GAP
    return [
        (start + left, start + right)
        for start in range(0, len(widths), max(1, each))
        for left, right in _runs(widths[start : start + each], room)
    ]


def _columns_said(block: Block, columns: Sequence[Key]) -> str:
    if block.counted:
        return ""
    first, last = (" · ".join(filter(None, block.names.columns[key])) for key in (columns[0], columns[-1]))
    return f"{first} to {last}" if first != last else first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Of the pictures of a block: the widest of each column, the highest of each row; and its labels."""

    widths: Mapping[Key, int]
    heights: Mapping[Key, int]
    label: int
    """Across; 0 where it stands above the only column."""


def _sizes(block: Block, paper: Paper) -> _Sizes:
    widths = dict.fromkeys(block.columns, NARROW)
    heights = dict.fromkeys(block.rows, 0)
    for (row, column), task in block.cells.items():
        if row in heights and column in widths:
            width, height = picture_size(task.width, task.height, paper.cell)
            widths[column] = max(widths[column], width)
            heights[row] = max(heights[row], height)
    above = len(block.columns) == 1 and not block.headed()
    return _Sizes(widths=widths, heights=heights, label=0 if above else _label_width(block, paper.letters))


def _label_width(block: Block, letters: Letters) -> int:
    """As wide as the longest label of the run, begun or not, within reason."""
    if block.counted:
        return letters.label
    longest = sorted(map(" · ".join, block.names.rows.values()), key=len)[-5:]
    return min(letters.label, _widest(tuple(longest), letters.text))


def _least_width(block: Block, letters: Letters) -> int:
    """What stands above and below a narrow table needs: a title has several lines, what is left one."""
    return max(min(letters.label, _widest((block.title,), letters.title)), _widest((block.left,), letters.text))


@lru_cache
def _widest(texts: tuple[str, ...], size: int) -> int:
    wide = max((paragraph(clean(text[:200])).width(size) for text in texts), default=0.0)
    return round(wide) + 1 if wide else 0


def _runs(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of runs that fit into a room; of what is longer than that each is a run."""
    start, used = 0, 0
    for place, length in enumerate(lengths):
        if place > start and used + length > room:
            yield start, place
            start, used = place, 0
        used += length
    if lengths:
        yield start, len(lengths)


def _measured(block: Block, sizes: _Sizes, paper: Paper, whole: SheetTable | None = None) -> SheetTable:
    """A block as it is drawn; a part of one stands side by side as the ``whole`` does."""
    widths = tuple(sizes.widths[key] for key in block.columns)
    heights = [sizes.heights[key] + GAP for key in block.rows]
    letters = paper.letters
    single = SheetTable(
        block=block,
        title=(),
        headings=(),
        widths=widths,
        heights=(),
        captions=(),
        label=sizes.label,
        letters=letters,
    )
    side = whole.side if whole else _side(block, single, max(heights, default=0), paper)
    if side > 1:
        heights = [max(heights, default=0)] * -(-len(block.rows) // side)
    captions = () if sizes.label or not widths else _captions(block, widths[0], side, letters)
    least = min(_least_width(block, letters), paper.width - 2 * MARGIN)
    return replace(
        single,
        title=_title(block, max(side * single.one, least), letters),
        headings=_headings(block, widths, letters) if block.headed() else (),
        heights=tuple(map(sum, zip(heights, captions, strict=True))) if captions else tuple(heights),
        captions=captions,
        side=side,
        least=least,
    )


def _title(block: Block, room: int, letters: Letters) -> tuple[TextLine, ...]:
    return lines_within(block.title, room, MOST_LINES, letters.title) if block.title else ()


def _captions(block: Block, width: int, side: int, letters: Letters) -> tuple[int, ...]:
    """Pixels above the pictures of a row for the highest of their labels."""
    texts = [block.label(row) for row in block.rows]
    lines = [len(lines_within(text, width, MOST_LINES, letters.text)) if text else 0 for text in texts]
    most = [max(lines[start : start + side]) for start in range(0, len(lines), side)]
    return tuple(count * letters.text_step + (GAP if count else 0) for count in most)


def _side(block: Block, table: SheetTable, high: int, paper: Paper) -> int:
    """How many tables stand side by side: more than one of a long and narrow one alone.

    Of pictures without labels beside them, rows have as many as fit, and the last one nearly as many.
    """
    rows = len(block.rows)
    most = max(1, min(rows, (min(paper.target, paper.width) - 2 * MARGIN) // table.one))
    if not table.label:
        return -(-rows // -(-rows // most)) if rows else 1
    fitting = (side for side in range(1, most) if high * -(-rows // side) <= LONGEST * side * table.one)
    return next(fitting, most)


def _headings(
    block: Block, widths: Sequence[int], letters: Letters
) -> tuple[tuple[tuple[TextLine, ...], ...], ...]:
    """What stands above the columns: of several levels the upper ones only where they change."""
    names = [block.names.columns[key] for key in block.columns]
    levels = []
    for level in range(max(map(len, names), default=0)):
        said = [names[0][level]] if names else []
        for before, name in pairwise(names):
            again = level < len(name) - 1 and name[: level + 1] == before[: level + 1]
            said.append("" if again else name[level])
        lines = zip(said, widths, strict=True)
        levels.append(
            tuple(lines_within(text, width, MOST_LINES, letters.text) if text else () for text, width in lines)
        )
    return tuple(levels)


def _rows(table: SheetTable, paper: Paper) -> Iterator[tuple[int, int]]:
    """Which rows of its block go onto one page, and the next ones."""
    room = paper.room - table.top - 2 * GAP - paper.letters.text_step - GAP
    count = len(table.block.rows)
    if not count:
        yield 0, 0
    for start, end in _runs(table.heights, room):
        yield start * table.side, min(count, end * table.side)
