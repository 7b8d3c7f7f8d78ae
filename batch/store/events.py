"""The run's history, ``.run/events.jsonl``: what happened, when, and to which image.

Only ever history: nothing is decided by it, so a line that cannot be written or read costs nothing else.
Lines are appended without a sync: a crash of the machine may lose the last ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic, regular
from batch.base.text import at_seat, plural, timestamp
from batch.records.events import Happening
from batch.records.kinds import HappeningKind
from batch.records.reading import from_json, to_json
from batch.store import shards

if TYPE_CHECKING:
    from batch.store.folder import RunFolder

FILE, OLDER = "events.jsonl", "events-1.jsonl"
MAX_BYTES = 8 * 2**20
"""Above this the log becomes ``events-1.jsonl`` and is begun anew."""


MAX_READ = 4 * MAX_BYTES
"""Of a log that could not be moved, its end is read."""

MAX_LINE = 2**20
"""Bytes of one line: a longer one is cut, and so is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A happening, with when (UTC, ISO 8601) and by whom it was written."""

    time: str
    runner: str
    kind: str
    """A :class:`~batch.records.kinds.HappeningKind`, or one that a newer version knows."""
    text: str
    shard: str = ""
    """``2/8``, of a run that renders a part."""
    task: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    seat: str = ""
    """The device that it happened at, where the run had several and it concerns one: ``cuda:1``."""

    @property
    def said(self) -> str:
        """For people, with where it was in front: the shard, and the device unless the text names that."""
        where = f"shard {self.shard}: " if self.shard else ""
        return where + at_seat(self.text, self.seat)


class EventLog:
    """Writes the history of a run folder. Never raises OSError: the log does not fail a run."""

    def __init__(self, folder: RunFolder) -> None:
        self._state = folder.own
        self._runner = folder.runner
        self._shard = "" if folder.shard is None else str(folder.shard)

    def begin(self, to_render: int) -> None:
        """Mark the start of a run, so that readers can tell its happenings from those before."""
        text = f"a run began: {plural(to_render, 'image')} to render"
        self.write(Happening(kind=HappeningKind.STARTED, text=text))

    def write(self, happening: Happening, seat: str = "") -> None:
        """Append one line; ``seat`` is what the device is called, where there are several."""
        entry = LogEntry(
            time=timestamp(),
            runner=self._runner,
            kind=happening.kind,
            text=happening.text,
            shard=self._shard,
            task=happening.task,
            data=dict(happening.data),
            seat=seat,
        )
        # Whatever is in the data is written somehow.
        line = json.dumps(to_json(entry), ensure_ascii=False, default=str).encode("utf-8", "replace")
        path = self._state / FILE
        with suppress(OSError):  # it goes on growing where it cannot be moved
            if path.stat().st_size > MAX_BYTES:
                atomic.move(path, self._state / OLDER)
        with suppress(OSError):
            atomic.append_line(path, line)


def read(folder: RunFolder) -> list[LogEntry]:
    """Every entry in the order written. What is torn, foreign, too long or not UTF-8 is not there.

    Each shard has a file of its own, since lines of two hosts would get mixed up; theirs are put in order by time.
    """
    entries = _read(folder.state)
    if others := [entry for _, state in shards.states(folder.state) for entry in _read(state)]:
        entries = sorted(entries + others, key=lambda entry: datetime.fromisoformat(entry.time).astimezone())
    return entries


def size(folder: RunFolder) -> int:
    """Bytes of the history: where it is the same, nothing has come to it."""
    paths = [folder.state, *(state for _, state in shards.states(folder.state))]
    return sum((path / FILE).stat().st_size for path in paths if (path / FILE).exists())


def _read(state: Path) -> list[LogEntry]:
    entries = []
    for name in (OLDER, FILE):
        with suppress(OSError):
            for line in _tail(state / name).split(b"\n"):
                # A time of no calendar here, as year 1 is west of Greenwich, is an OverflowError.
                with suppress(ValueError, OverflowError, OSError):
                    entry = from_json(LogEntry, line[: MAX_LINE + 1])
                    datetime.fromisoformat(entry.time).astimezone()
                    entries.append(entry)
    return entries


def _tail(path: Path) -> bytes:
    """The end of a log, which is nearly always all of it. Raises OSError."""
    with regular.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - MAX_READ))
        return file.read(MAX_READ)


ENDS = {HappeningKind.END, HappeningKind.STOPPED}
"""Kinds that a run ends with; one that was killed has neither."""

IN_A_ROW = "in_a_row"
"""In the data of a run's end: how many images failed one after the other."""

CANNOT_GO_ON = "cannot_go_on"
"""In the data of a run's end, true: the same command would end the same way, as long as nothing is mended."""

TOLD_ELSEWHERE = {HappeningKind.END, HappeningKind.FAILED, HappeningKind.DEVICES}
"""Kinds for the log alone: the images that failed and the counts stand in every report anyway."""

DEVICES = "devices"
"""In the data of the happening of that kind: how many there are."""


def last_run(events: Sequence[LogEntry]) -> list[LogEntry]:
    """What happened in the last run; its start, its end and the images that failed are left out.

    Where no start is in the log (it was cut off by the size limit), the last runner's events. Of shards, what
    happened in the last run of each of those that the folder was divided into last.
    """
    if not any(event.kind == HappeningKind.STARTED for event in events):
        found = [event for event in events if event.runner == events[-1].runner]
    else:
        ids = {id(event) for run in _last_runs(events) for event in run}
        found = [event for event in events if id(event) in ids and event.kind != HappeningKind.STARTED]
    return [event for event in found if event.kind not in TOLD_ELSEWHERE]


def _last_runs(events: Sequence[LogEntry]) -> list[list[LogEntry]]:
    """The last run from its start on; of a folder that was divided last, that of each shard."""
    runs: dict[str, list[LogEntry]] = {}
    for event in events:
        if event.kind == HappeningKind.STARTED:
            of = event.shard.partition("/")[2]
            runs = {shard: run for shard, run in runs.items() if of and shard.partition("/")[2] == of}
            runs[event.shard] = [event]
        elif event.shard in runs:
            runs[event.shard].append(event)
    return list(runs.values())


def stopped(events: Sequence[LogEntry]) -> LogEntry | None:
    """What the last run was broken off by; None of one that came to its end, that goes on or was killed."""
    decisive = {*ENDS, HappeningKind.STARTED}
    lasts = [next((event for event in reversed(run) if event.kind in decisive), None) for run in _runs(events)]
    return next((last for last in lasts if last is not None and last.kind == HappeningKind.STOPPED), None)


def _runs(events: Sequence[LogEntry]) -> list[Sequence[LogEntry]]:
    """As :func:`_last_runs`, of a log whose beginning is cut off all of it."""
    return [*_last_runs(events)] or [events]


def in_a_row(event: LogEntry | None) -> int:
    """How many failures one after the other broke the run off; 0 where it was something else."""
    count = event.data.get(IN_A_ROW) if event is not None else None
    return count if type(count) is int and count > 0 else 0


def devices(events: Sequence[LogEntry]) -> int:
    """How many devices a run had at most."""
    told = [event.data.get(DEVICES) for event in events if event.kind == HappeningKind.DEVICES]
    return max((count for count in told if type(count) is int and count < _MOST_DEVICES), default=1)


_MOST_DEVICES = 10**6


def cannot_go_on(event: LogEntry | None) -> bool:
    """Whether a run that was broken off would be so again."""
    return event is not None and event.data.get(CANNOT_GO_ON) is True


def unfinished(events: Sequence[LogEntry]) -> list[LogEntry]:
    """How the last run began, if nothing says that it ended: it goes on, or was killed. Of shards each one."""
    decisive = {*ENDS, HappeningKind.STARTED}
    lasts = [next((event for event in reversed(run) if event.kind in decisive), None) for run in _runs(events)]
    return [last for last in lasts if last is not None and last.kind == HappeningKind.STARTED]
