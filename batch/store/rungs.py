"""The rungs taken after memory ran out, kept in the run folder: by card, model, dtype and size.

What did not fit once is not tried again, in this run or in a later one on the same kind of card.
``--redo-degraded`` forgets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batch.memory.ladder import KNOWN
from batch.plan import alike
from batch.records.kinds import Stage
from batch.records.tasks import EncodeTask, Task
from batch.store import files

FILE = "rungs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    rungs: Mapping[str, Mapping[str, tuple[str, ...]]]


class RungFile:
    """``.run/rungs.json``, for one card. Damaged or foreign content counts as empty."""

    def __init__(self, state: Path, card: str, runner: str) -> None:
        self._path = state / FILE
        self._card = card
        self._runner = runner
        self._taken: dict[str, dict[str, tuple[str, ...]]] = {}
        self._as_read: tuple[int, int] | None = None
        """When the file was last modified, and its size, when it was read."""

    def of(self, task: Task) -> Mapping[str, tuple[str, ...]]:
        """The rungs that hold for a task, by stage; also those that a worker of another such card has taken."""
        return self._now().get(self._key(task), {})

    def take(self, task: Task, stage: str, rungs: tuple[str, ...]) -> None:
        """From now on these rungs hold for the stage of every task of this model, dtype and size."""
        self._put(self._key(task), stage, rungs)

    def of_texts(self, task: EncodeTask | Task) -> str:
        """The rung by which texts of this model are encoded; "" where none was taken."""
        taken = self._now().get(self._text_key(task), {}).get(Stage.ENCODE, ())
        return taken[-1] if taken else ""

    def take_for_texts(self, task: EncodeTask, rung: str) -> None:
        """From now on the texts of this model are encoded so."""
        self._put(self._text_key(task), Stage.ENCODE, (rung,))

    def _put(self, key: str, stage: str, rungs: tuple[str, ...]) -> None:
        # Of two that take one in the same moment one may be lost, and is learned anew.
        self._taken[key] = {**self._now().get(key, {}), stage: rungs}
        with suppress(OSError):  # on a full disk it is learned anew
            files.write(self._path, {"schema": 1, "rungs": self._taken}, self._runner)

    def _now(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """All that were taken by now, here and elsewhere."""
        with suppress(*files.UNREADABLE):
            status = self._path.stat()
            found = (status.st_mtime_ns, status.st_size)
            if found != self._as_read:
                for key, stages in files.read(_Kept, self._path).rungs.items():
                    self._taken[key] = {**self._taken.get(key, {}), **_known(stages)}
                self._as_read = found
        return self._taken

    def _key(self, task: Task) -> str:
        return f"{self._card} | {alike.size_name(task)}"

    def _text_key(self, task: EncodeTask | Task) -> str:
        return " | ".join((self._card, *alike.session_key(task), "texts"))


def _known(stages: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {
        stage: tuple(rung for rung in rungs if rung in KNOWN[stage])
        for stage, rungs in stages.items()
        if stage in KNOWN
    }


def forget(state: Path) -> None:
    """Try everything anew. Call it under the run's lock."""
    (state / FILE).unlink(missing_ok=True)
