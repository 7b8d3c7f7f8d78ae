"""``trash/<UTC time>/``: what was moved out of the way, each file under its path in the run folder.

Nothing here is ever deleted. ``prune --restore`` moves it back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from batch.base import atomic
from batch.store import inside


class Trash:
    """The trash of the run folder ``root``. All that one process moves there lies in one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: Path | None = None
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path | None:
        """Where things were moved; None when nothing was."""
        return self._folder

    def with_pictures(self) -> tuple[Path, ...]:
        """All that holds pictures, of whoever moved them there."""
        return tuple(path for path in (self._root / "trash").glob("[!.]*") if (path / "images").is_dir())

    def take(self, path: str) -> None:
        """Move a file, named relative to the run folder. Raises OSError."""
        with self._lock:
            if self._folder is None:
                self._folder = self._new()
            inside.require_here(self._root, self._root / path)
            atomic.move(self._root / path, free(self._folder / path))

    def _new(self) -> Path:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
        for folder in _numbered(self._root / "trash" / now):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("there is a number for every folder")


def free(path: Path) -> Path:
    """A path where nothing lies yet: this one, or one with a number behind its name."""
    return next(place for place in _numbered(path) if not os.path.lexists(place))


def _numbered(path: Path) -> Iterator[Path]:
    """A path, and others like it for where that is taken."""
    yield path
    for number in count(2):
        yield path.with_stem(f"{path.stem}-{number}")
