"""How large everything on a contact sheet is, and where it stands in its table. All lengths are in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from batch.report.lettering.lines import clean, lines_within, paragraph
from batch.store.images.encoders import THUMB_SIDE

if TYPE_CHECKING:
    from batch.report.lettering.lines import Line
    from batch.report.sheet.axes import Key
    from batch.report.sheet.blocks import Block

GAP = 8
MARGIN = 24
COLUMN_GAP = 40
"""Between tables side by side, so that a label is seen to belong to the picture on its right."""
LABEL_WIDTH = 280
"""Of a label beside a row at most."""
TEXT_SIZE, TEXT_STEP = 15, 20
TITLE_SIZE, TITLE_STEP = 19, 27
NAME_SIZE, NAME_STEP = 28, 36
"""Of the name of the run: letters, and from one line to the next."""
NARROWEST = 800
"""Pixels across of a page beside its margins."""
TARGET_WIDTH = 2_400
"""Narrow tables are set side by side up to about this width."""
MOST_LINES = 3
"""Of a label above a column or a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """How large a page may be, and a picture on it: pixels of its longer side."""

    cell: int = 256
    width: int = 16_000
    """Viewers and formats stop at 16,383 (WebP) or 65,535 (JPEG) pixels a side."""
    height: int = 5_000
    """A page stays below Pillow's 89-megapixel bomb warning, and a browser scrolls it without trouble."""
    target: int = TARGET_WIDTH
    head: int = 300
    """Of the height, what the heading may take."""
    fixed: bool = False
    """Every page has just this size."""

    @property
    def room(self) -> int:
        """Pixels down for tables."""
        return self.height - self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row of pictures stands, from the upper left corner of its table."""

    left: int
    top: int
    height: int
    caption: int
    """Of the height, what stands above the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A block, or as much of it as a page takes: what is in it, and how large that is."""

    block: Block
    title: tuple[Line, ...]
    headings: tuple[tuple[tuple[Line, ...], ...], ...]
    """Above the columns, by level and column; empty where nothing stands there."""
    widths: tuple[int, ...]
    heights: tuple[int, ...]
    """Of the rows of pictures, with what stands above these; rows of the block side by side are one."""
    captions: tuple[int, ...]
    """Of these, what stands above the pictures."""
    label: int
    """Across of what stands beside a row; 0 where it stands above."""
    side: int = 1
    """How many times the table stands side by side."""

    @property
    def one(self) -> int:
        """Across of one of the tables side by side."""
        beside = self.label + GAP * 2 if self.label else 0
        return beside + sum(self.widths) + GAP * len(self.widths) + (COLUMN_GAP if self.label else GAP)

    @property
    def width(self) -> int:
        """Of all of them."""
        return self.side * self.one

    @property
    def title_height(self) -> int:
        """From the line above the table to what stands above its columns."""
        return len(self.title) * TITLE_STEP + 2 * GAP

    @property
    def level_heights(self) -> list[int]:
        """Of each level of what stands above the columns."""
        return [max(map(len, level), default=0) * TEXT_STEP for level in self.headings]

    @property
    def top(self) -> int:
        """From the line above the table to its first row."""
        heads = sum(self.level_heights)
        return self.title_height + heads + (GAP // 2 if heads else 0)

    @property
    def height(self) -> int:
        """Of all of it, the space below included."""
        left = TEXT_STEP + GAP if self.block.left else 0
        return self.top + sum(self.heights) + left + 2 * GAP

    def places(self) -> list[Place]:
        """Of each row of the block."""
        tops = list(accumulate(self.heights, initial=self.top))
        rows = len(self.heights)
        found = []
        for number in range(len(self.block.rows)):
            down, across = divmod(number, rows)[::-1] if self.label else divmod(number, self.side)
            caption = self.captions[down] if self.captions else 0
            found.append(Place(left=across * self.one, top=tops[down], height=self.heights[down], caption=caption))
        return found

    def label_lines(self, row: Key, above: Key | None, height: int) -> tuple[Line, ...]:
        """What stands beside a row of some height, or above its picture."""
        text = self.block.label(row, above)
        if not self.label:
            return lines_within(text, self.widths[0], MOST_LINES, TEXT_SIZE) if text else ()
        return lines_within(text, self.label, max(1, height // TEXT_STEP), TEXT_SIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Tables side by side."""

    tables: tuple[Table, ...]

    @property
    def width(self) -> int:
        """Of all of them."""
        return sum(table.width for table in self.tables) + COLUMN_GAP * (len(self.tables) - 1)

    @property
    def height(self) -> int:
        """Of the highest, the space below included."""
        return max(table.height for table in self.tables)

    def lefts(self) -> list[int]:
        """Where each begins."""
        return list(accumulate((table.width + COLUMN_GAP for table in self.tables), initial=0))[:-1]


@lru_cache(maxsize=4096)
def picture_size(width: int, height: int, cell: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is ``cell``; very narrow ones are a bit wider.

    None is enlarged, beyond the size of a thumbnail.
    """
    longer, least = max(width, height), min(48, cell)
    scale = min(cell, max(longer, THUMB_SIDE)) / longer
    return max(least, round(width * scale)), max(least, round(height * scale))


def lefts(self) -> list[int]:
    """Where each begins."""
    return list(accumulate((table.width + COLUMN_GAP for table in self.tables), initial=0))[:-1]


@lru_cache(maxsize=4096)
def picture_size(width: int, height: int, cell: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is ``cell``; very narrow ones are a bit wider.

    None is enlarged, beyond the size of a thumbnail.
    """
    longer, least = max(width, height), min(48, cell)
    scale = min(cell, max(longer, THUMB_SIDE)) / longer
    return max(least, round(width * scale)), max(least, round(height * scale))


def pages_of(blocks: Sequence[Block], paper: Paper) -> Iterator[list[Shelf]]:
    """Blocks cut to fit, gathered into pages: below one another, and narrow ones side by side."""
    page: list[Shelf] = []
    used = 0
    for shelf in _shelves([table for block in blocks for table in _cut(block, paper)], paper):
        if page and used + shelf.height > paper.room:
            yield page
            page, used = [], 0
        page.append(shelf)
        used += shelf.height
    if page:
        yield page


def _shelves(tables: Sequence[Table], paper: Paper) -> Iterator[Shelf]:
    """Tables that would be a long column stand side by side, as many as fit."""
    widest = max((table.width for table in tables), default=0)
    is_long = sum(table.height for table in tables) > LONGEST * widest
    room = min(paper.target, paper.width - 2 * MARGIN) + COLUMN_GAP
    for start, end in _runs([table.width + COLUMN_GAP for table in tables], room if is_long else 0):
        yield Shelf(tables=tuple(tables[start:end]))


def _cut(block: Block, paper: Paper) -> Iterator[Table]:
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
    room = paper.width - 2 * MARGIN - LABEL_WIDTH - 2 * GAP - COLUMN_GAP
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
    return _Sizes(widths=widths, heights=heights, label=0 if above else _label_width(block))


def _label_width(block: Block) -> int:
    """As wide as the longest label of the run, begun or not, within reason."""
    if block.counted:
        return LABEL_WIDTH
    return _widest(tuple(sorted(map(" · ".join, block.names.rows.values()), key=len)[-5:]))


@lru_cache
def _widest(texts: tuple[str, ...]) -> int:
    wide = max((paragraph(clean(text[:200])).width(TEXT_SIZE) for text in texts), default=0.0)
    return min(LABEL_WIDTH, round(wide) + 1) if wide else 0


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


def _measured(block: Block, sizes: _Sizes, paper: Paper, whole: Table | None = None) -> Table:
    """A block as it is drawn; a part of one stands side by side as the ``whole`` does."""
    widths = tuple(sizes.widths[key] for key in block.columns)
    heights = [sizes.heights[key] + GAP for key in block.rows]
    single = Table(block=block, title=(), headings=(), widths=widths, heights=(), captions=(), label=sizes.label)
    side = whole.side if whole else _side(block, single, max(heights, default=0), paper)
    if side > 1:
        heights = [max(heights, default=0)] * -(-len(block.rows) // side)
    captions = () if sizes.label or not widths else _captions(block, widths[0], side)
    room = max(side * single.one, min(NARROWEST, paper.width - 2 * MARGIN))
    return replace(
        single,
        title=lines_within(block.title, room, MOST_LINES, TITLE_SIZE) if block.title else (),
        headings=_headings(block, widths) if block.headed() else (),
        heights=tuple(map(sum, zip(heights, captions, strict=True))) if captions else tuple(heights),
        captions=captions,
        side=side,
    )


def _captions(block: Block, width: int, side: int) -> tuple[int, ...]:
    """Pixels above the pictures of a row for the highest of their labels."""
    texts = [block.label(row) for row in block.rows]
    lines = [len(lines_within(text, width, MOST_LINES, TEXT_SIZE)) if text else 0 for text in texts]
    most = [max(lines[start : start + side]) for start in range(0, len(lines), side)]
    return tuple(count * TEXT_STEP + (GAP if count else 0) for count in most)


def _side(block: Block, table: Table, high: int, paper: Paper) -> int:
    """How many tables stand side by side: more than one of a long and narrow one alone.

    Of pictures without labels beside them, rows have as many as fit, and the last one nearly as many.
    """
    rows = len(block.rows)
    most = max(1, min(rows, (min(paper.target, paper.width) - 2 * MARGIN) // table.one))
    if not table.label:
        return -(-rows // -(-rows // most)) if rows else 1
    fitting = (side for side in range(1, most) if high * -(-rows // side) <= LONGEST * side * table.one)
    return next(fitting, most)


def _headings(block: Block, widths: Sequence[int]) -> tuple[tuple[tuple[Line, ...], ...], ...]:
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
            tuple(lines_within(text, width, MOST_LINES, TEXT_SIZE) if text else () for text, width in lines)
        )
    return tuple(levels)


def _rows(table: Table, paper: Paper) -> Iterator[tuple[int, int]]:
    """Which rows of its block go onto one page, and the next ones."""
    room = paper.room - table.top - 2 * GAP - TEXT_STEP - GAP
    count = len(table.block.rows)
    if not count:
        yield 0, 0
    for start, end in _runs(table.heights, room):
        yield start * table.side, min(count, end * table.side)


def lefts(widths: Sequence[int]) -> list[int]:
    """Where each column begins."""
    return list(accumulate((width + GAP for width in widths), initial=0))[:-1]
