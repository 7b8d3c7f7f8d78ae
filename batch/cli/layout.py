"""Texts for a terminal: aligned columns, and facts by name whose lines are broken."""

from __future__ import annotations

import textwrap
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

from batch.catalogue.single_files import KINDS

if TYPE_CHECKING:
    from batch.catalogue.model import Checkpoint

WIDTH = 100

_SPACE = "\N{NO-BREAK SPACE}"


def table(rows: Sequence[Sequence[str]], *, right: Container[int] = ()) -> list[str]:
    """Rows as lines, the cells of a column under each other; the columns ``right`` end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def facts(named: Mapping[str, str]) -> list[str]:
    """Names on the left and texts on the right; empty texts are left out."""
    width = max(map(len, named)) + 4
    lines = []
    for name, text in named.items():
        if text:
            first, *rest = wrapped(text, width)
            lines += [f"  {name.ljust(width - 2)}{first}", *rest]
    return lines


def wrapped(text: str, indent: int) -> list[str]:
    """A text in lines; the first begins where it is put, the others are indented."""
    lines = textwrap.wrap(text, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    lines = [line.replace(_SPACE, " ") for line in lines]
    return lines[:1] + [" " * indent + line for line in lines[1:]]


def single_file(found: Checkpoint) -> str:
    """What a checkpoint in one file is, with the ten digits that other programs show as its hash."""
    if not found.sha256:
        return f"{found.source.replace('@/', '/')}, not on this machine yet: `fetch` downloads it"
    where = f" of {found.source}" if found.source else ""
    return f"{KINDS[found.kind]} in one file [{found.sha256[:10]}], stored in {found.precision}{where}"


def together(text: str) -> str:
    """The text as one word for :func:`wrapped`."""
    return text.replace(" ", _SPACE)
