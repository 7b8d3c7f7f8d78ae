"""Workers that outlive their run, so that a model which the next run of a queue shares stays loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.engines.places import KeptCrew
    from batch.render.backend import Backend

_LETTERS = 8_000
"""Of all the folders that a worker is started for: they stand in its environment, which Windows bounds."""


class Keep:
    """The workers of one run, idle until the next. ``folders`` are those of the runs, in order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._crew: KeptCrew | None = None
        self._backend: Backend | None = None

    def after(self, folder: Path) -> tuple[Path, ...]:
        """The run folders that a worker which begins in this one may go on to."""
        later = self._folders[self._folders.index(folder) + 1 :] if folder in self._folders else ()
        letters = 0

        def fits(path: Path) -> bool:
            nonlocal letters
            letters += len(str(path.resolve())) + 1
            return letters <= _LETTERS

        return tuple(takewhile(fits, later))

    def put(self, crew: KeptCrew, backend: Backend) -> None:
        """Keep workers that have nothing in hand."""
        self.close()
        for _, handle in crew.workers:
            handle.leave()
        self._crew, self._backend = crew, backend

    def take(self, state: Path, devices: str | None, backend: Backend) -> KeptCrew | None:
        """The workers, at work for another run folder; None where fresh ones are needed.

        Those that do not fit are ended: they would hold the cards.
        """
        crew, self._crew = self._crew, None
        if crew is None:
            return None
        same = (crew.asked, self._backend) == (devices, backend)
        going = tuple((seat, handle) for seat, handle in crew.workers if same and handle.go_on(state))
        for worker in crew.workers:
            if worker not in going:
                worker[1].close()
        return replace(crew, workers=going) if going else None

    def close(self) -> None:
        """End those that are kept, if any."""
        if self._crew is not None:
            for _, handle in self._crew.workers:
                handle.dismiss()
            for _, handle in self._crew.workers:
                handle.close()
            self._crew = None
