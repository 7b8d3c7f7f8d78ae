"""What planning finds out about a manifest: mistakes, which end it, and what does nothing, which is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import Place

DEFAULT = Place("", 0)
"""Where a value stands that the manifest does not name."""


@dataclass(slots=True)
class Findings:
    """Each once, at its file and line."""

    source: str
    """The manifest's file, for what has no line."""
    warnings: tuple[str, ...] = ()
    """What reading the manifest has found."""
    problems: set[Problem] = field(default_factory=set)
    remarks: dict[str, None] = field(default_factory=dict)

    def wrong(self, place: Place, message: str) -> None:
        """Note a mistake: no plan is made."""
        self.problems.add(Problem(*(place if place != DEFAULT else (self.source, 0)), message))

    def remark(self, place: Place, message: str) -> None:
        """Note what is told beside the plan."""
        self.remarks[str(Problem(*place, message))] = None

    def stop_on_problems(self) -> None:
        """Raise :class:`ManifestError` with all of them, and what was to be told beside them."""
        if self.problems:
            raise ManifestError(sorted(self.problems), (*self.warnings, *self.remarks))
