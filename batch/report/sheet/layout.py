"""How large everything on a contact sheet is, and where it stands in its table. All lengths are in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from batch.report.lettering.lines import lines_within
from batch.store.images.encoders import THUMB_SIDE

if TYPE_CHECKING:
    from batch.report.lettering.lines import TextLine
    from batch.report.sheet.axes import Key
    from batch.report.sheet.blocks import Block

GAP = 8
MARGIN = 24
COLUMN_GAP = 40
"""Between tables side by side, so that a label is seen to belong to the picture on its right."""
TARGET_WIDTH = 2_400
"""Narrow tables are set side by side up to about this width."""
MOST_LINES = 3
"""Of a label above a column or a picture."""


USUAL_CELL = 256
_TEXT = 15
_LARGEST = 4.0
"""Times as large as usual are letters at most: beside larger pictures one looks at a part of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """How large letters are, how far from one line to the next, and what must have room for them."""

    text: int = _TEXT
    text_step: int = 20
    title: int = 19
    title_step: int = 27
    name: int = 28
    """Of the run."""
    name_step: int = 36
    label: int = 280
    """Across, of a label beside a row at most."""
    narrowest: int = 800
    """Across, of a page beside its margins."""

    @property
    def times(self) -> float:
        """How many times as large as usual."""
        return self.text / _TEXT

    def at(self, factor: float) -> Letters:
        """The same that many times as large."""
        return Letters(**{item.name: round(getattr(self, item.name) * factor) for item in fields(self)})


@lru_cache
def letters_for(cell: int) -> Letters:
    """Beside pictures of a size: a page of large ones is looked at from farther, or made smaller to be seen."""
    return Letters().at(min(_LARGEST, max(1.0, cell / USUAL_CELL)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """How large a page may be, and a picture on it: pixels of its longer side."""

    cell: int = USUAL_CELL
    width: int = 16_000
    """Viewers and formats stop at 16,383 (WebP) or 65,535 (JPEG) pixels a side."""
    height: int = 5_000
    """A page stays below Pillow's 89-megapixel bomb warning, and a browser scrolls it without trouble."""
    target: int = TARGET_WIDTH
    head: int = 300
    """Of the height, what the heading may take."""
    fixed: bool = False
    """Every page has just this size."""
    letters: Letters = field(default_factory=Letters)

    @property
    def room(self) -> int:
        """Pixels down for tables."""
        return self.height - round(self.head * self.letters.times)


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """Where a row of pictures stands, from the upper left corner of its table."""

    left: int
    top: int
    height: int
    caption: int
    """Of the height, what stands above the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetTable:
    """A block, or as much of it as a page takes: what is in it, and how large that is."""

    block: Block
    title: tuple[TextLine, ...]
    headings: tuple[tuple[tuple[TextLine, ...], ...], ...]
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
    letters: Letters = field(default_factory=Letters)
    least: int = 0
    """Across, of what its title and the line below it need."""
    lead: int = 0
    """Left free below its title, so that its rows begin where those of the tables beside it do."""

    @property
    def one(self) -> int:
        """Across of one of the tables side by side."""
        beside = self.label + GAP * 2 if self.label else 0
        return beside + sum(self.widths) + GAP * len(self.widths) + (COLUMN_GAP if self.label else GAP)

    @property
    def width(self) -> int:
        """Of all of them, with what stands above and below."""
        return max(self.least, self.side * self.one)

    @property
    def title_height(self) -> int:
        """From the line above the table to what stands above its columns."""
        return len(self.title) * self.letters.title_step + self.lead + 2 * GAP

    @property
    def level_heights(self) -> list[int]:
        """Of each level of what stands above the columns."""
        return [max(map(len, level), default=0) * self.letters.text_step for level in self.headings]

    @property
    def top(self) -> int:
        """From the line above the table to its first row."""
        heads = sum(self.level_heights)
        return self.title_height + heads + (GAP // 2 if heads else 0)

    @property
    def height(self) -> int:
        """Of all of it, the space below included."""
        left = self.letters.text_step + GAP if self.block.left else 0
        return self.top + sum(self.heights) + left + 2 * GAP

    def places(self) -> list[TablePlace]:
        """Of each row of the block."""
        tops = list(accumulate(self.heights, initial=self.top))
        rows = len(self.heights)
        found = []
        for number in range(len(self.block.rows)):
            down, across = divmod(number, rows)[::-1] if self.label else divmod(number, self.side)
            caption = self.captions[down] if self.captions else 0
            found.append(
                TablePlace(left=across * self.one, top=tops[down], height=self.heights[down], caption=caption)
            )
        return found

    def label_lines(self, row: Key, above: Key | None, height: int) -> tuple[TextLine, ...]:
        """What stands beside a row of some height, or above its picture."""
        text = self.block.label(row, above)
        if not self.label:
            return lines_within(text, self.widths[0], MOST_LINES, self.letters.text) if text else ()
        return lines_within(text, self.label, max(1, height // self.letters.text_step), self.letters.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShelf:
    """Tables side by side."""

    tables: tuple[SheetTable, ...]

    @property
    def width(self) -> int:
        """Of all of them."""
        return sum(table.width for table in self.tables) + COLUMN_GAP * (len(self.tables) - 1)

    @property
    def height(self) -> int:
        """Of the highest, the space below included."""
        return max(table.height for table in self.tables)

    def placed(self) -> list[tuple[SheetTable, int]]:
        """Each with where it begins."""
        starts = accumulate((table.width + COLUMN_GAP for table in self.tables), initial=0)
        return list(zip(self.tables, starts, strict=False))


@lru_cache(maxsize=4096)
def picture_size(width: int, height: int, cell: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is ``cell``; very narrow ones are a bit wider.

    None is enlarged, beyond the size of a thumbnail.
    """
    longer, least = max(width, height), min(48, cell)
    scale = min(cell, max(longer, THUMB_SIDE)) / longer
    return max(least, round(width * scale)), max(least, round(height * scale))


def lefts(widths: Sequence[int]) -> list[int]:
    """Where each column begins."""
    return list(accumulate((width + GAP for width in widths), initial=0))[:-1]
