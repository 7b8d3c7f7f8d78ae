"""A comparison as text: what ``compare`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from batch.base.text import one_line
from batch.report.compare.tables import heading, legend, sections

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.tables import Section

WRAP = 36
"""Characters of a cell that names something; a longer one goes on in the next line."""


def as_text(comparison: Comparison) -> str:
    """The tables, what the marks mean, the notes, and the sentences."""
    if not comparison.rows:
        return "\n".join(map(one_line, ["nothing has been rendered in these runs", *comparison.notes]))
    lines = [heading(comparison)]
    for section in sections(comparison):
        lines += ["", f"{section.title}: {section.about}", *_aligned(section)]
    lines += ["", *legend(comparison)]
    if comparison.notes:
        lines += ["", *(f"- {note}" for note in comparison.notes)]
    if comparison.sentences:
        lines += ["", *comparison.sentences]
    return "\n".join(map(one_line, lines)).strip()


def _aligned(section: Section) -> Iterator[str]:
    head = ("#", *section.named)
    lines = [line for _, block in section.blocks for line in block]
    named = {line.number: _wrapped((f"{line.number}{line.mark}", *line.named)) for line in lines}
    left = _widths([head, *(cells for rows in named.values() for cells in rows)])
    right = _widths([section.figures, *(line.figures for line in lines if line.figures)])
    yield _row(head, section.figures, left, right)
    for title, block in section.blocks:
        if title:
            yield f"  {title}"
        for line in block:
            first, *rest = named[line.number]
            yield _row(first, line.figures or (line.words,), left, right if line.figures else [0])
            yield from (_row(cells, (), left, []) for cells in rest)
            if line.figures and line.words:
                yield f"  {' ' * left[0]}  {line.words}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _row(named: Iterable[str], figures: Iterable[str], left: Sequence[int], right: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(named, left, strict=True)]
    cells += [cell.rjust(width) for cell, width in zip(figures, right, strict=False)]
    return f"  {'  '.join(cells)}".rstrip()


def _wrapped(named: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells in as many lines as the last one, the memory setting, needs: a step is never divided."""
    lines = [""]
    # ``a + b (degraded from c)`` as ``a +``, `` b``, `` (degraded from c)``
    for part in named[-1].replace(" + ", " +\n ").replace(" (degraded", "\n (degraded").split("\n"):
        if lines[-1] and len(lines[-1]) + len(part) > WRAP:
            lines.append("")
        lines[-1] += part
    blank = ("",) * (len(named) - 1)
    return [(*(named[:-1] if not index else blank), line.strip()) for index, line in enumerate(lines)]
