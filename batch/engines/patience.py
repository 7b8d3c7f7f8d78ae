"""How long a worker may be silent before it counts as hung: learned from the run itself."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.plan.alike import size_key
from batch.records.events import Beat
from batch.records.kinds import Stage
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.engines.inhand import InHand

FIRST_S = 1800.0
"""Before anything is known: a first step may compile kernels, a first load may read from a slow disk."""

LEAST_S = 60.0
"""A silence shorter than this is never a hang: other programs use the machine too."""

FACTOR = 10.0
"""Times the longest silence seen in the same stage of the same model, size and setting."""


STOP_S = 60.0
"""So long may a worker be silent that was told to stop."""

LISTEN_S = 1.0
"""One look for a message counts as no more silence than this."""


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


class Silence:
    """How long a worker has said nothing, and what it was at."""

    def __init__(self, in_hand: InHand, by_hand: float | None) -> None:
        self._in_hand = in_hand
        self._patience = Patience(by_hand)
        self._beat = Beat("", Stage.LOAD)
        self._rungs = 0
        self._since = self._doing()
        """What it was at when it last said so: what a silence after that was spent on."""
        self.stage = Stage.LOAD
        """Of the image being rendered; saving goes on beside it."""
        self.seconds = 0.0
        """Of listening since it said something."""

    def begin(self) -> None:
        """A fresh worker."""
        self.seconds = 0.0
        self._beat, self.stage = Beat("", Stage.LOAD), Stage.LOAD
        self._since = self._doing()

    def listened(self, seconds: float) -> None:
        """It was listened for so long, and nothing may have come."""
        # Both processes may have been stopped meanwhile (Ctrl-Z, a laptop that slept): that is no silence.
        self.seconds += min(seconds, LISTEN_S)

    def heard(self) -> None:
        """It said something."""
        # Not of what it is given by now: of its decoding, say, this tells nothing.
        self._patience.heard(self._since, self.seconds)
        self.seconds = 0.0

    def at(self, beat: Beat) -> None:
        """It said what it is at."""
        self._beat = beat
        self._since = self._doing()
        if beat.stage != Stage.SAVE:
            self.stage = beat.stage

    def slower(self) -> None:
        """It went a rung down: what was learned no longer holds."""
        self._rungs += 1

    def too_long(self, *, stopping: bool) -> bool:
        """Whether it counts as hung."""
        if stopping:
            return self.seconds > STOP_S
        return self.seconds > self._patience.limit(self._doing(), loading=self._beat.stage == Stage.LOAD)

    def _doing(self) -> Hashable:
        """What a silence is compared with: the stage, of the same model, size and setting."""
        given = self._in_hand.rendering
        task = given.task if given else None
        if not isinstance(task, Task):
            return (self._beat.stage, task.model if task else "")
        return (self._beat.stage, self._rungs, size_key(task), task.memory, self._in_hand.together)
