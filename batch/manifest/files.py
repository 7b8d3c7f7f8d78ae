"""Files a manifest names, and the list of what is wrong in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch.base.errors import Problem
from batch.manifest.document import Document, Location, Place
from batch.manifest.tables import PROMPT_SUFFIXES, foreign_table
from batch.manifest.values import shown


@dataclass(slots=True)
class Problems:
    """Everything found wrong so far; reading goes on, so that all of it comes at once."""

    document: Document
    found: list[Problem] = field(default_factory=list)
    remarks: dict[str, None] = field(default_factory=dict)
    """What is told beside the plan and stops nothing, each once."""

    def add(self, location: Location, message: str) -> None:
        """A problem at a location of the manifest."""
        self.found.append(self.document.problem(location, message))

    def remark(self, place: Place, message: str) -> None:
        """Something to be told beside the plan."""
        self.remarks[str(Problem(*place, message))] = None

    def extend(self, problems: Iterable[Problem]) -> None:
        """Problems of another file."""
        self.found.extend(problems)


def is_there(folder: Path, named: str) -> bool:
    """Whether a name is that of a file, from a folder; a name that no system takes is none."""
    try:
        return (folder / named).is_file()
    except (OSError, ValueError):
        return False


def referenced(named: str, folder: Path, suffixes: Sequence[str] = PROMPT_SUFFIXES) -> Path:
    """A file that a manifest names: in its own folder or below, unless written as an absolute path.

    Raises ``ValueError`` when it lies elsewhere, does not exist, or is of another kind.
    """
    path = Path(named)
    if path.suffix.lower() not in suffixes:
        hint = foreign_table(path.suffix) or f"only {', '.join(suffixes)} files are read here"
        if path.suffix.lower() == ".json":
            hint += "; write a list as .jsonl, with an object or a text a line"
        raise ValueError(f"{named}: {hint}")
    path = within(named, folder)
    if not path.is_file():
        what = "this is a folder, a pipe or a device, not a file" if path.exists() else "there is no such file"
        raise ValueError(f"{what}: {path}")
    return path


def within(named: str, folder: Path) -> Path:
    """What a manifest names in its own folder or below, or by its absolute path; it need not be there.

    Raises ``ValueError``.
    """
    path = Path(named)
    try:
        inside = path.is_absolute() or (folder / path).resolve().is_relative_to(folder.resolve())
        path = folder / path
        path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long a name; a NUL; links in a circle
        said = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{shown(named)} cannot be read: {said}") from None
    if not inside:
        raise ValueError(f"{named} lies outside the manifest's folder; move it there or write the full path")
    return path
