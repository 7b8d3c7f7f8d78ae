"""Several names in one text, joined with a separator that may stand in a name, too."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 64
"""Pieces of a text up to which names that hold the separator are looked for; nobody joins as many."""


def several(written: str, separator: str, known: Callable[[str], bool]) -> list[str]:
    """The names in a text: all of it, where that is known, else the longest known ones that cover it.

    Where none do, it is parted at every separator. ``known`` is asked for each stretch of the text at most once.
    """
    pieces = written.split(separator)
    count = len(pieces)
    if not 1 < count <= _MOST:
        return [piece.strip() for piece in pieces]
    ends: dict[int, int] = {count: count}
    for start in reversed(range(count)):
        for end in sorted(ends, reverse=True):
            if known(separator.join(pieces[start:end]).strip()):
                ends[start] = end
                break
    if 0 not in ends:
        return [piece.strip() for piece in pieces]
    found, start = [], 0
    while start < count:
        found.append(separator.join(pieces[start : ends[start]]).strip())
        start = ends[start]
    return found
