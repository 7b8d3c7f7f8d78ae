"""A page of a contact sheet: its heading, and its blocks below one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from batch.report.sheet.blocks import (
    BLOCK_TITLE_SIZE,
    GAP,
    LABEL_WIDTH,
    MARGIN,
    NARROWEST,
    TEXT_SIZE,
    TITLE_SIZE,
)
from batch.report.sheet.cells import MUTED, PAPER, draw_cell
from batch.report.sheet.lettering import draw_lines, lines_within, wrapped

if TYPE_CHECKING:
    from batch.report.sheet.blocks import (
        Block,
    )
    from batch.store.folder import RunFolder
    from batch.store.receipts import Scan

_INK, _RULE = (30, 30, 34), (225, 225, 222)
_LABEL_STEP = TEXT_SIZE + 5


def draw_page(blocks: Sequence[Block], heading: str, folder: RunFolder, scan: Scan) -> Image.Image:
    """Draw blocks under a heading, with the pictures and the failures of a run."""
    width = max([block.width() for block in blocks] + [NARROWEST]) + 2 * MARGIN
    lines = wrapped(heading, width - 2 * MARGIN, TITLE_SIZE)
    top = MARGIN + len(lines) * (TITLE_SIZE + GAP) + 2 * GAP
    page = Image.new("RGB", (width, top + sum(block.height() for block in blocks) + MARGIN), PAPER)
    draw_lines(ImageDraw.Draw(page), (MARGIN, MARGIN), lines, TITLE_SIZE, _INK, TITLE_SIZE + GAP)
    for block in blocks:
        _draw_block(page, block, top, folder, scan)
        top += block.height()
    return page


def _draw_block(page: Image.Image, block: Block, top: int, folder: RunFolder, scan: Scan) -> None:
    draw = ImageDraw.Draw(page)
    draw.line([(MARGIN, top), (page.width - MARGIN, top)], fill=_RULE, width=2)
    draw_lines(draw, (MARGIN, top + GAP), block.title_lines(), BLOCK_TITLE_SIZE, _INK, TITLE_SIZE)
    below = top + block.rows_height()
    top += block.title_height()
    rows, size = block.rows(), block.cell_size()
    draw_lines(draw, (MARGIN, below), [block.left], TEXT_SIZE, MUTED, 0)
    for number, prompt in enumerate(block.prompts):
        column, row = divmod(number, rows)
        left = MARGIN + column * block.table_width()
        y = top + TEXT_SIZE + GAP + row * block.row_height()
        label = lines_within(block.label(prompt), LABEL_WIDTH - 2 * GAP, max(1, size[1] // _LABEL_STEP), TEXT_SIZE)
        draw_lines(draw, (left, y), label, TEXT_SIZE, _INK, _LABEL_STEP)
        for index, seed in enumerate(block.seeds):
            x = left + LABEL_WIDTH + index * (size[0] + GAP)
            if row == 0 and not block.counted:
                draw_lines(draw, (x, top), [f"seed {seed}"], TEXT_SIZE, MUTED, 0)
            if task := block.cells.get((prompt, seed)):
                draw_cell(page, (x, y), size, task, folder, scan)
