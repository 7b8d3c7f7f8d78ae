"""A page of a contact sheet: its heading, and its tables below one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from batch.report.lettering.lines import clean, draw_lines, lines_within, paragraph
from batch.report.sheet.cells import MUTED, PAPER, draw_cell
from batch.report.sheet.layout import (
    GAP,
    MARGIN,
    MOST_LINES,
    lefts,
    picture_size,
)

if TYPE_CHECKING:
    from batch.report.sheet.axes import Key
    from batch.report.sheet.heading import Heading
    from batch.report.sheet.layout import Letters, Paper, SheetTable, TableShelf
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

_INK, _RULE = (30, 30, 34), (222, 222, 218)


def draw_page(
    shelves: Sequence[TableShelf], heading: Heading, paper: Paper, folder: RunFolder, scan: Scan
) -> Image.Image:
    """Draw shelves of tables under a heading, with the pictures and the failures of a run."""
    page = Image.new("RGB", page_size(shelves, heading, paper), PAPER)
    head = _Head(heading, page.width, paper.letters)
    head.draw(page)
    top = head.height
    for shelf in shelves:
        ImageDraw.Draw(page).line([(MARGIN, top), (page.width - MARGIN - 1, top)], fill=_RULE)
        for table, left in shelf.placed():
            _draw_table(page, table, (MARGIN + left, top), paper.cell, folder, scan)
        top += shelf.height
    return page


def page_size(shelves: Sequence[TableShelf], heading: Heading, paper: Paper) -> tuple[int, int]:
    """Width and height of a page."""
    if paper.fixed:
        return paper.width, paper.height
    width = max([shelf.width for shelf in shelves] + [paper.letters.narrowest]) + 2 * MARGIN
    return width, _Head(heading, width, paper.letters).height + sum(shelf.height for shelf in shelves) + MARGIN


class _Head:
    """The heading of a page: the name, how many there are of what, what they share."""

    def __init__(self, heading: Heading, width: int, letters: Letters) -> None:
        self._letters = letters
        room = width - 2 * MARGIN
        self._number = paragraph(heading.page)
        beside = round(self._number.width(letters.text)) + 2 * GAP if heading.page else 0
        self._name = lines_within(heading.name, room - beside, 2, letters.name)
        self._totals = lines_within(heading.totals, room, 2, letters.text) if heading.totals else ()
        self._shared = lines_within(heading.shared, room, MOST_LINES, letters.text) if heading.shared else ()
        self._lines = len(self._totals) + len(self._shared)
        self.height = (
            MARGIN + len(self._name) * letters.name_step + self._lines * (letters.text_step + 2) + 2 * GAP
        )

    def draw(self, page: Image.Image) -> None:
        """Write it on top of a page."""
        name, text, step = self._letters.name, self._letters.text, self._letters.text_step + 2
        draw_lines(page, (MARGIN, MARGIN), self._name, name, _INK, step=self._letters.name_step)
        right = page.width - MARGIN - round(self._number.width(text))
        draw_lines(page, (right, MARGIN + name - text), [self._number], text, MUTED, step=0)
        top = MARGIN + len(self._name) * self._letters.name_step + GAP // 2
        draw_lines(page, (MARGIN, top), self._totals, text, _INK, step=step)
        top += len(self._totals) * step
        draw_lines(page, (MARGIN, top), self._shared, text, MUTED, step=step)


def _draw_table(
    page: Image.Image, table: SheetTable, at: tuple[int, int], cell: int, folder: RunFolder, scan: Scan
) -> None:
    block, letters, (left, top) = table.block, table.letters, at
    draw_lines(page, (left, top + GAP), table.title, letters.title, _INK, step=letters.title_step)
    columns, beside = lefts(table.widths), table.label + 2 * GAP if table.label else 0
    for side in range(table.side):
        _draw_headings(page, table, left + side * table.one + beside, top + table.title_height)
    _draw_labels(page, table, at)
    for row, place in zip(block.rows, table.places(), strict=True):
        x, y = left + place.left + beside, top + place.top + place.caption
        for column, across in zip(block.columns, columns, strict=True):
            if task := block.cells.get((row, column)):
                size = picture_size(task.width, task.height, cell)
                draw_cell(page, (x + across, y), size, task, folder, scan, letters)
    if block.left:
        below = top + table.height - 2 * GAP - letters.text_step
        draw_lines(page, (left, below), [paragraph(clean(block.left))], letters.text, MUTED, step=0)


def _draw_labels(page: Image.Image, table: SheetTable, at: tuple[int, int]) -> None:
    """Beside a row from its top down; above a picture so that they end there."""
    letters = table.letters
    for row, before, place in zip(table.block.rows, said_before(table), table.places(), strict=True):
        lines = table.label_lines(row, before, place.height - GAP)
        down = 0 if table.label else place.caption - GAP // 2 - len(lines) * letters.text_step
        where = at[0] + place.left, at[1] + place.top + down
        draw_lines(
            page, where, lines, letters.text, _INK, step=letters.text_step, width=table.label or table.widths[0]
        )


def said_before(table: SheetTable) -> list[Key | None]:
    """Of each row the one whose label it goes on from: the row above, or the picture before it in its line.

    None for the first of a column or a line, which says all: the last one stands at the far end.
    """
    before: list[Key | None] = [None] if table.block.rows else []
    for row, (place, after) in zip(table.block.rows, pairwise(table.places()), strict=False):
        goes_on = place.top < after.top if table.label else place.top == after.top
        before.append(row if goes_on else None)
    return before


def _draw_headings(page: Image.Image, table: SheetTable, left: int, top: int) -> None:
    """What stands above the columns ends just above them."""
    letters = table.letters
    for level, height in zip(table.headings, table.level_heights, strict=True):
        for lines, at, width in zip(level, lefts(table.widths), table.widths, strict=True):
            y = top + height - len(lines) * letters.text_step
            draw_lines(page, (left + at, y), lines, letters.text, MUTED, step=letters.text_step, width=width)
        top += height
