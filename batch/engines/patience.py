"""How long a worker may be silent before it counts as hung: learned from the run itself."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

FIRST_S = 1800.0
"""Before anything is known: a first step may compile kernels, a first load may read from a slow disk."""

LEAST_S = 60.0
"""A silence shorter than this is never a hang: other programs use the machine too."""

FACTOR = 10.0
"""Times the longest silence seen in the same stage of the same model, size and setting."""


@dataclass(slots=True)
class Patience:
    """Longest silences by what was going on. Times in seconds."""

    by_hand: float | None = None
    """Counts for everything but loading, in place of what is learned."""
    _longest: dict[Hashable, float] = field(default_factory=dict)

    def heard(self, doing: Hashable, silence: float) -> None:
        """The worker has said something after a silence."""
        self._longest[doing] = max(silence, self._longest.get(doing, 0.0))

    def limit(self, doing: Hashable, *, loading: bool = False) -> float:
        """The silence from which on the worker counts as hung."""
        if loading:
            return max(FIRST_S, self.by_hand or 0.0)
        if self.by_hand is not None:
            return self.by_hand
        longest = self._longest.get(doing)
        return FIRST_S if longest is None else max(LEAST_S, FACTOR * longest)
