"""Tables and facts for a terminal, through rich: columns fold between words, or are left out; no word is broken.

Everything in them may be written by others: it is made visible, and stands there as it is, never as rich's markup.
rich is slow to import: import this where something is shown.
"""

from __future__ import annotations

import io
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from batch.base.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, ConsoleRenderable, RenderResult

UNBOUND = 10_000
"""Cells of a line where no terminal is: a row stays one line there, for grep."""
READABLE = 100
"""Cells of a line of prose."""

_GAP = 2
_EASY = 16
"""Cells that a column keeps as long as it can: texts of one word a line are hard to read."""
_HANGING = 2
_LEAST = 10
"""Cells of a name that still tells something."""


def console(stream: TextIO) -> Console:
    """What prints on a stream that is a terminal. NO_COLOR and TERM=dumb are rich's to heed."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def coloured(part: ConsoleRenderable, stream: TextIO) -> str:
    """A table as it is written on a terminal; an old console of Windows, which knows no codes, gets none."""
    page = console(stream)
    if page.legacy_windows:
        return plain(part, page.width) + "\n"
    with page.capture() as taken:
        page.print(part, crop=False)
    return taken.get()


def plain(part: ConsoleRenderable, width: int = UNBOUND) -> str:
    """A table as lines of plain text, without blanks at their ends."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, highlight=False, markup=False, emoji=False).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def letters(text: str, style: str = "") -> Text:
    """A text of somebody as letters of one line."""
    return Text(one_line(visible(text)), style)


def shortened(name: str, cells: int, dots: str = "…") -> str:
    """A name cut in the middle, since both ends tell: ``lighthouse-at-du…-s42-5376x3072``."""
    if cell_len(name) <= cells:
        return name
    room = max(0, cells - len(dots))
    tail = name[-(room // 2) or len(name) :]
    while cell_len(tail) > room // 2:
        tail = tail[1:]
    return f"{set_cell_size(name, room - cell_len(tail)).rstrip()}{dots}{tail}"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A line that is folded between words where the terminal ends; what goes on is indented."""

    line: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich."""
        text = visible(self.line).expandtabs().rstrip()
        indent = len(text) - len(text.lstrip(" "))
        dots = "..." if options.ascii_only else "…"
        for index, line in enumerate(_folded(text.lstrip(" "), options.max_width - indent - _HANGING, dots)):
            begun = " " * (indent + _HANGING * bool(index))
            yield Text(begun + line, self.style, no_wrap=True, overflow="ignore")


def _together(words: Sequence[str]) -> Iterator[str]:
    """Words, and as one of them a word with the count behind it that ends a part: ``stopping 1,``."""
    for index, word in enumerate(words):
        if index and _counts(words, index):
            continue
        yield f"{word} {words[index + 1]}" if _counts(words, index + 1) else word


def _counts(words: Sequence[str], index: int) -> bool:
    """Whether it is the count of the word before it."""
    if index >= len(words) or not words[index - 1].replace("-", "").isalpha():
        return False
    is_last = index == len(words) - 1
    return words[index].rstrip(",;").isdigit() and (is_last or not words[index].isdigit())


def _folded(text: str, width: int, dots: str) -> Iterator[str]:
    """A text in lines of whole words. Of what is longer than a line a path stays whole, for it is copied."""
    line = ""
    for word in _together(text.split(" ")):
        if "-" in word and not {"/", "\\"} & {*word}:  # an image's name, whose end tells most
            word = shortened(word, max(width, _LEAST), dots)  # noqa: PLW2901
        longer = f"{line} {word}" if line else word
        if line and cell_len(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Rows in columns. Of a row with fewer cells the last one is a text, that takes the room of those it lacks."""

    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]]
    right: Container[int] = ()
    """Columns whose cells end together: numbers."""
    spare: Sequence[int] = ()
    """Columns that are left out where the terminal is too narrow, the first one first."""
    indent: int = 2
    bold: bool = False
    """The first column names what the others say."""
    widest: int = UNBOUND
    """Also where no terminal is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich."""
        room = min(options.max_width, self.widest) - self.indent
        widths = self._fitting(room)
        if self.head:
            yield self._table([self.head], widths, "bold")
        for cells, rows in groupby(self.rows, key=len):
            whole = cells == self._columns
            yield self._table([*rows], widths if whole else _ending_in_text(widths, cells, room))
        if gone := [self.head[index] for index in self.spare if self.head and index not in widths]:
            yield Paragraph(f"{' ' * self.indent}(a wider terminal also shows: {', '.join(gone)})", "dim")

    @property
    def _columns(self) -> int:
        return max(map(len, (self.head, *self.rows)))

    def _cells(self, column: int) -> list[str]:
        """What has to stand in a column: of a row that ends in a text, all before that text."""
        ends = [(row, len(row) - (len(row) < self._columns)) for row in (self.head, *self.rows)]
        return [row[column] for row, end in ends if column < end]

    def _table(self, rows: Sequence[Sequence[str]], widths: Mapping[int, int], style: str = "") -> Padding:
        table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
        for index, width in widths.items():
            table.add_column(
                width=width,
                justify="right" if index in self.right and len(rows[0]) == self._columns else "left",
                overflow="fold",
                style="bold" if self.bold and not index else style,
            )
        for row in rows:
            table.add_row(*(letters(row[index]) for index in widths))
        return Padding(table, (0, 0, 0, self.indent), expand=False)

    def _fitting(self, room: int) -> dict[int, int]:
        """The columns that fit, and the cells of each."""
        needs = {index: _measured(self._cells(index)) for index in range(self._columns)}
        for gone in self.spare:
            easy = sum(min(need.maximum, max(need.minimum, _EASY)) for need in needs.values())
            if easy + _GAP * (len(needs) - 1) <= room:
                break
            del needs[gone]
        return dict(zip(needs, _shared([*needs.values()], room - _GAP * (len(needs) - 1)), strict=True))


def _ending_in_text(widths: Mapping[int, int], cells: int, room: int) -> dict[int, int]:
    """The columns of a row whose last cell is a text."""
    own = {index: width for index, width in widths.items() if index < cells - 1}
    return own | {cells - 1: max(_EASY, room - sum(own.values()) - _GAP * len(own))}


def _measured(cells: Sequence[str]) -> Measurement:
    """The cells of the longest word of a column, and of its longest text."""
    found = [letters(cell).__rich_measure__(_ANY, _ANY.options) for cell in cells]
    return Measurement(max(item.minimum for item in found), max(item.maximum for item in found))


_ANY = Console(file=io.StringIO(), width=UNBOUND)


def _shared(needs: Sequence[Measurement], room: int) -> list[int]:
    """Cells of each column: what it asks for, or the widest give, down to their longest words."""
    widths = [need.maximum for need in needs]
    for least in ([need.minimum for need in needs], [1] * len(needs)):
        while sum(widths) > room:
            able = [index for index, width in enumerate(widths) if width > least[index]]
            if not able:
                break
            widths[max(able, key=widths.__getitem__)] -= 1
    return widths


def facts(named: Mapping[str, str], indent: int = 2) -> TextTable:
    """Names on the left and texts on the right; empty texts are left out."""
    return TextTable(
        rows=[(name, text) for name, text in named.items() if text], indent=indent, bold=True, widest=READABLE
    )


def lines(text: str) -> Iterator[Paragraph]:
    """Every line of a text, folded where the terminal ends."""
    return map(Paragraph, text.splitlines() or [""])
