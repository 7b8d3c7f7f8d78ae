"""A worker that outlives its run, so that a model which the next run of a queue shares stays loaded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.engines.handle import Handle
    from batch.render.backend import Backend

_LETTERS = 8_000
"""Of all the folders that a worker is started for: they stand in its environment, which Windows bounds."""


class Keep:
    """At most one worker process, idle until the next run. ``folders`` are those of the runs, in order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._handle: Handle | None = None
        self._started_as: tuple[str | None, Backend] | None = None
        self._device = ""

    def after(self, folder: Path) -> tuple[Path, ...]:
        """The run folders that a worker which begins in this one may go on to."""
        later = self._folders[self._folders.index(folder) + 1 :] if folder in self._folders else ()
        letters = 0

        def fits(path: Path) -> bool:
            nonlocal letters
            letters += len(str(path.resolve())) + 1
            return letters <= _LETTERS

        return tuple(takewhile(fits, later))

    def put(self, handle: Handle, devices: str | None, backend: Backend, device: str) -> None:
        """Keep a worker that has nothing in hand; ``devices`` was asked for, ``device`` is where it renders."""
        self.close()
        handle.leave()
        self._handle, self._started_as, self._device = handle, (devices, backend), device

    def take(self, state: Path, devices: str | None, backend: Backend) -> tuple[Handle, str] | None:
        """The worker, at work for another run folder, and its device; None where a fresh one is needed.

        One that does not fit is ended: it would hold the card.
        """
        handle = self._handle
        if handle is None:
            return None
        if self._started_as == (devices, backend) and handle.go_on(state):
            self._handle = None
            return handle, self._device
        self.close()
        return None

    def close(self) -> None:
        """End the one that is kept, if any."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
