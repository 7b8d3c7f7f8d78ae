"""A comparison as text: what ``compare`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch.base.tables import TextTable
from batch.base.text import one_line
from batch.report.compare.tables import heading, legend, sections

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.tables import Section

SPARE = (
    "timed", "MP/s", "save", "encode", "from", "to", "allocated", "in encode", "in denoise", "in decode", "decode",
    "denoise", "compared", "with", "min SSIM", "min PSNR", "max diff", "host", "reserved", "Wh",
)  # fmt: skip
"""Figures that a narrow terminal can do without, the first one first."""


def parts(comparison: Comparison) -> Iterator[str | TextTable]:
    """The tables, what the marks mean, the notes, and the sentences."""
    if not comparison.rows:
        yield "\n".join(map(one_line, ["nothing has been rendered in these runs", *comparison.notes]))
        return
    if common := heading(comparison):
        yield one_line(common)
    for section in sections(comparison):
        yield f"\n{one_line(f'{section.title}: {section.about}')}"
        yield _grid(section)
    notes = [f"- {note}" for note in comparison.notes]
    for lines in (legend(comparison), notes, comparison.sentences):
        if lines:
            yield "\n".join(["", *map(one_line, lines)])


def _grid(section: Section) -> TextTable:
    head = ("#", *section.named, *section.figures)
    first = 1 + len(section.named)
    return TextTable(
        head=head,
        rows=[*_rows(section)],
        right=range(first, len(head)),
        spare=[head.index(name, first) for name in SPARE if name in section.figures],
    )


def _rows(section: Section) -> Iterator[tuple[str, ...]]:
    """A line of the table; in words, in place of its figures or below them, what became of what is missing."""
    for title, block in section.blocks:
        if title:
            yield (title,)
        for line in block:
            named = (f"{line.number}{line.mark}", *line.named)
            yield (*named, *line.figures) if line.figures else (*named, line.words)
            if line.figures and line.words:
                yield ("", line.words)
