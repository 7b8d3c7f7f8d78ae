"""Files a manifest names, and the list of what is wrong in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch.base.errors import Problem
from batch.manifest.document import Document, Location
from batch.manifest.tables import PROMPT_SUFFIXES


@dataclass(slots=True)
class Problems:
    """Everything found wrong so far; reading goes on, so that all of it comes at once."""

    document: Document
    found: list[Problem] = field(default_factory=list)

    def add(self, location: Location, message: str) -> None:
        """A problem at a location of the manifest."""
        self.found.append(self.document.problem(location, message))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Problems of another file."""
        self.found.extend(problems)


def referenced(named: str, folder: Path, suffixes: Sequence[str] = PROMPT_SUFFIXES) -> Path:
    """A file that a manifest names: in its own folder or below, unless written as an absolute path.

    Raises ``ValueError`` when it lies elsewhere, does not exist, or is of another kind.
    """
    path = Path(named)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{named}: only {', '.join(suffixes)} files are read here")
    if not path.is_absolute():
        try:
            inside = (folder / path).resolve().is_relative_to(folder.resolve())
        except (OSError, ValueError) as error:
            raise ValueError(f"{named} cannot be read: {error}") from None
        if not inside:
            raise ValueError(f"{named} lies outside the manifest's folder; move it there or write the full path")
        path = folder / path
    if not path.is_file():
        raise ValueError(f"there is no such file: {path}")
    return path
