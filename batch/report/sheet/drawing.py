"""A page of a contact sheet: its heading, and its tables below one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from batch.report.lettering.lines import clean, draw_lines, lines_within, paragraph
from batch.report.sheet.cells import MUTED, PAPER, draw_cell
from batch.report.sheet.layout import (
    GAP,
    MARGIN,
    MOST_LINES,
    NAME_SIZE,
    NAME_STEP,
    NARROWEST,
    TEXT_SIZE,
    TEXT_STEP,
    TITLE_SIZE,
    TITLE_STEP,
    lefts,
    picture_size,
)

if TYPE_CHECKING:
    from batch.report.sheet.axes import Key
    from batch.report.sheet.heading import Heading
    from batch.report.sheet.layout import Paper, Place, Shelf, Table
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

_INK, _RULE = (30, 30, 34), (222, 222, 218)


def draw_page(
    shelves: Sequence[Shelf], heading: Heading, paper: Paper, folder: RunFolder, scan: Scan
) -> Image.Image:
    """Draw shelves of tables under a heading, with the pictures and the failures of a run."""
    page = Image.new("RGB", page_size(shelves, heading, paper), PAPER)
    head = _Head(heading, page.width)
    head.draw(page)
    top = head.height
    for shelf in shelves:
        ImageDraw.Draw(page).line([(MARGIN, top), (page.width - MARGIN - 1, top)], fill=_RULE)
        for table, left in zip(shelf.tables, shelf.lefts(), strict=True):
            _draw_table(page, table, (MARGIN + left, top), paper.cell, folder, scan)
        top += shelf.height
    return page


def page_size(shelves: Sequence[Shelf], heading: Heading, paper: Paper) -> tuple[int, int]:
    """Width and height of a page."""
    if paper.fixed:
        return paper.width, paper.height
    width = max([shelf.width for shelf in shelves] + [NARROWEST]) + 2 * MARGIN
    return width, _Head(heading, width).height + sum(shelf.height for shelf in shelves) + MARGIN


class _Head:
    """The heading of a page: the name, how many there are of what, what they share."""

    def __init__(self, heading: Heading, width: int) -> None:
        room = width - 2 * MARGIN
        self._number = paragraph(heading.page)
        beside = round(self._number.width(TEXT_SIZE)) + 2 * GAP if heading.page else 0
        self._name = lines_within(heading.name, room - beside, 2, NAME_SIZE)
        self._totals = lines_within(heading.totals, room, 2, TEXT_SIZE) if heading.totals else ()
        self._shared = lines_within(heading.shared, room, MOST_LINES, TEXT_SIZE) if heading.shared else ()
        self._lines = len(self._totals) + len(self._shared)
        self.height = MARGIN + len(self._name) * NAME_STEP + self._lines * (TEXT_STEP + 2) + 2 * GAP

    def draw(self, page: Image.Image) -> None:
        """Write it on top of a page."""
        draw_lines(page, (MARGIN, MARGIN), self._name, NAME_SIZE, _INK, step=NAME_STEP)
        right = page.width - MARGIN - round(self._number.width(TEXT_SIZE))
        draw_lines(page, (right, MARGIN + NAME_SIZE - TEXT_SIZE), [self._number], TEXT_SIZE, MUTED, step=0)
        top = MARGIN + len(self._name) * NAME_STEP + GAP // 2
        draw_lines(page, (MARGIN, top), self._totals, TEXT_SIZE, _INK, step=TEXT_STEP + 2)
        top += len(self._totals) * (TEXT_STEP + 2)
        draw_lines(page, (MARGIN, top), self._shared, TEXT_SIZE, MUTED, step=TEXT_STEP + 2)


def _draw_table(
    page: Image.Image, table: Table, at: tuple[int, int], cell: int, folder: RunFolder, scan: Scan
) -> None:
    block, (left, top) = table.block, at
    draw_lines(page, (left, top + GAP), table.title, TITLE_SIZE, _INK, step=TITLE_STEP)
    columns, beside = lefts(table.widths), table.label + 2 * GAP if table.label else 0
    for side in range(table.side):
        _draw_headings(page, table, left + side * table.one + beside, top + table.title_height)
    _draw_labels(page, table, at)
    for row, place in zip(block.rows, table.places(), strict=True):
        x, y = left + place.left + beside, top + place.top + place.caption
        for column, across in zip(block.columns, columns, strict=True):
            if task := block.cells.get((row, column)):
                draw_cell(page, (x + across, y), picture_size(task.width, task.height, cell), task, folder, scan)
    if block.left:
        below = top + table.height - 2 * GAP - TEXT_STEP
        draw_lines(page, (left, below), [paragraph(clean(block.left))], TEXT_SIZE, MUTED, step=0)


def _draw_labels(page: Image.Image, table: Table, at: tuple[int, int]) -> None:
    """Beside a row from its top down; above a picture so that they end there."""
    before: tuple[Key, Place] | None = None
    for row, place in zip(table.block.rows, table.places(), strict=True):
        above = before[0] if before and before[1].top < place.top else None
        lines = table.label_lines(row, above, place.height - GAP)
        down = 0 if table.label else place.caption - GAP // 2 - len(lines) * TEXT_STEP
        where = at[0] + place.left, at[1] + place.top + down
        draw_lines(page, where, lines, TEXT_SIZE, _INK, step=TEXT_STEP, width=table.label or table.widths[0])
        before = row, place


def _draw_headings(page: Image.Image, table: Table, left: int, top: int) -> None:
    """What stands above the columns ends just above them."""
    for level, height in zip(table.headings, table.level_heights, strict=True):
        for lines, at, width in zip(level, lefts(table.widths), table.widths, strict=True):
            y = top + height - len(lines) * TEXT_STEP
            draw_lines(page, (left + at, y), lines, TEXT_SIZE, MUTED, step=TEXT_STEP, width=width)
        top += height
