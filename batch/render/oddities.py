"""What a session finds odd about a model or its pictures and lets pass: each is told once."""

from __future__ import annotations

from collections.abc import Hashable

from batch.records.kinds import HappeningKind
from batch.render.backend import Oddity


class Oddities:
    """Those not told yet, and which have been found."""

    def __init__(self) -> None:
        self._found: set[Hashable] = set()
        self._untold: list[Oddity] = []

    def first(self, what: Hashable) -> bool:
        """Whether it has not been found before."""
        new = what not in self._found
        self._found.add(what)
        return new

    def tell(self, kind: HappeningKind, text: str, *, once: Hashable) -> None:
        """One of a kind of which the first is told."""
        if self.first(once):
            self._untold.append(Oddity(kind, text))

    def forget(self) -> None:
        """As if nothing had been found."""
        self._found, self._untold = set(), []

    def take(self) -> list[Oddity]:
        """Those since the last call."""
        taken, self._untold = self._untold, []
        return taken
