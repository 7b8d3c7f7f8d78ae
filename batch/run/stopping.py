"""How a run is to end, and what people are told of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from batch.base.text import exactly


class Level(IntEnum):
    """How a run is to end."""

    GO_ON = 0
    FINISH = 1
    """When the image at work is done."""
    DROP = 2
    """Now: the image at work is dropped, what is rendered is saved."""
    KILL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """A moment of a run that stops."""

    level: Level
    name: str
    """The image at work; empty where there is none."""
    left: str
    """What that still takes: ``, in about 40s``."""
    within: float | None
    """Seconds that the stop may take."""
    by: str
    """Whose order had it come to this; empty for a signal, and where the time had."""
    by_order: bool
    """An order was the first that had it stop: who sits there has pressed nothing yet."""
    late: str
    """Why the image at work is dropped though it was to be finished."""
    reporting: bool
    """The report is being written,"""
    leaving: bool
    """and is to be left out."""
    over_with: bool
    """The image that was waited for is finished."""
    several: bool = False
    """Images are at work at several devices: ``name`` names them, and ``left`` is that of the slowest."""

    @property
    def text(self) -> str:
        """What comes of it, as history keeps it too."""
        if self.level == Level.FINISH:
            if self.reporting:
                return "stopping: the report is written first"
            return f"stopping: {self.name or 'the image at work'} {'are' if self.several else 'is'} finished first"
        if self.leaving:
            return "stopping: the report is left out"
        if self.over_with:
            return "stopping: the image is finished, and the report follows"
        if self.late:
            return f"stopping: {self.late}: what is at work is dropped, what is complete is kept"
        return "stopping: what is complete is kept, what is at work is dropped"

    @property
    def hint(self) -> str:
        """When, who asked for it, and what another Ctrl-C does: for who sits there, and for no history."""
        who = f"{self.by} asked for it; " if self.by else ""
        then = "at once"
        if self.level == Level.FINISH:
            dropped = "they are dropped" if self.several else "it is dropped"
            then = "without it" if self.reporting else dropped
        return f"{self._when} ({who}{'Ctrl-C' if self.by_order else 'again'}: {then})"

    @property
    def answer(self) -> str:
        """What whoever gave an order is told."""
        if self.level != Level.FINISH:
            return self.text
        return f"{self.text}{self._when}; `stop --drop` {self._drops}"

    @property
    def _drops(self) -> str:
        if self.reporting:
            return "leaves it out"
        return "drops them" if self.several else "drops it"

    @property
    def _when(self) -> str:
        """How long the image takes that is waited for."""
        if self.level != Level.FINISH or self.reporting:
            return ""
        return self.left + (f", within {exactly(self.within)} at most" if self.within else "")
