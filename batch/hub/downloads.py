"""What is wanted of the Hub, how it is to be had, and who is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypedDict

from batch.hub import cache
from batch.records.events import Listener

STALL_S = 60.0
"""Nothing moved for so long: the download is ended and begun anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How to download: who is told, and when to give up."""

    listener: Listener
    stall: float = STALL_S
    stop: Event | None = None
    exact: bool = False
    """Ask the Hub which files there are, where no earlier download has listed them."""
    newest: bool = False
    """Ask the Hub what a branch or tag that a manifest names is now, where no run has pinned it."""
    check: bool = False
    """Read what is here and compare it with the Hub's hashes: ten gigabytes take half a minute."""


class Request(TypedDict):
    """What the process that downloads is asked for."""

    repo: str
    commit: str
    files: list[str]
    cache: str
    """The folder of the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFiles:
    """What is wanted of a repository at a commit: its files with their sizes in bytes, None where not known."""

    name: str
    repo: str
    commit: str
    files: Mapping[str, int | None]

    @property
    def folder(self) -> Path:
        """Where the files are when they are here."""
        return cache.snapshot(self.repo, self.commit)

    def missing(self) -> list[str]:
        """The files that are not here."""
        return [file for file in self.files if not (self.folder / file).is_file()]

    def bytes_of(self, files: Iterable[str]) -> int:
        """How large they are together."""
        return sum(self.files[file] or 0 for file in files)

    def torn(self) -> dict[str, int]:
        """The files that are here in another size than they should be, with it."""
        found = {}
        for file, wanted in self.files.items():
            with suppress(OSError):
                size = (self.folder / file).stat().st_size
                if wanted not in (None, size):
                    found[file] = size
        return found

    @property
    def title(self) -> str:
        """The model's name and which commit of which repository it is."""
        return f"{self.name}: {self.repo} at {self.commit[:12]}"
