"""Tell someone how a run goes: what is told, and that it never holds a run up and never fails it.

Every target (:mod:`batch.run.targets`) has a thread of its own, and what went wrong is a warning at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from batch.base.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESUMABLE, CannotGoOn, DiskLow
from batch.base.text import plural
from batch.run import enclosure, summary
from batch.store.folder import RunFolder, runner_id

if TYPE_CHECKING:
    from batch.run.options import QueueEntry, Result


class NotifyEvent(StrEnum):
    """What people are told, with the word that commands get."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    STALLED = "stalled"
    LOW_DISK = "low-disk"


SECONDS = 30.0
"""How long one target may take for one message."""

_GRACE = 5.0
"""Seconds beyond that for a thread to end what it has stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a target is told."""

    event: NotifyEvent
    title: str
    text: str
    counts: Mapping[str, int]
    folders: Sequence[Path]
    """Absolute: of a queue all, first the one that the picture is of."""
    picture: Path | None = None
    """A small JPEG of what was rendered."""

    def variables(self) -> dict[str, str]:
        """As environment variables of a command."""
        counts = {f"RUN_BATCH_{name.upper().replace('-', '_')}": str(count) for name, count in self.counts.items()}
        picture = {} if self.picture is None else {"RUN_BATCH_PICTURE": str(self.picture)}
        return (
            counts
            | picture
            | {
                "RUN_BATCH_EVENT": self.event,
                "RUN_BATCH_TITLE": self.title,
                "RUN_BATCH_MESSAGE": self.text,
                "RUN_BATCH_FOLDER": str(self.folders[0]),
            }
        )

    def json(self) -> bytes:
        """As a command reads it on stdin: one object, in ASCII."""
        folders = list(map(str, self.folders))
        data = {"event": self.event, "title": self.title, "message": self.text, "folder": folders[0]}
        picture = None if self.picture is None else str(self.picture)
        more = {"folders": folders, "counts": dict(self.counts), "picture": picture}
        return json.dumps({**data, **more}).encode()


class Target(Protocol):
    """Someone to tell."""

    @property
    def label(self) -> str:
        """How a message may name it: without secrets."""

    def tell(self, message: Message, seconds: float) -> str:
        """Tell it; "" or why that failed. May raise anything."""


class Notifier:
    """Tells every target in the background, each in the order of the events."""

    def __init__(self, targets: Sequence[Target], seconds: float = SECONDS) -> None:
        self._lines = [_Line(target, seconds) for target in targets]

    @property
    def anybody(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._lines)

    def send(
        self,
        event: NotifyEvent,
        title: str,
        message: str,
        counts: Mapping[str, int],
        *folders: Path,
        picture: Path | None = None,
    ) -> None:
        """Tell all; returns at once and never raises. After :meth:`close` nobody is told."""
        places = [folder.absolute() for folder in folders]
        told = Message(
            event=event, title=title, text=message, counts=dict(counts), folders=places, picture=picture
        )
        for line in self._lines:
            line.put(told)

    def close(self) -> list[str]:
        """Wait until all are told, at most about twice what one message may take; what went wrong."""
        for line in self._lines:
            line.end()
        return [warning for line in self._lines for warning in line.wait()]


class _Line:
    """One target, its messages and its thread: one that hangs holds up no other."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target, self._seconds = target, seconds
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        # A daemon, so that the program can end whatever the target does.
        self._thread = Thread(target=self._work, daemon=True, name=f"notify {target.label}")
        self._warnings: list[str] = []
        self._deadline = float("inf")

    def put(self, message: Message) -> None:
        if self._deadline < float("inf"):
            return
        self._messages.put(message)
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError as error:  # the system has no thread left
                self._warnings.append(f"{self._target.label} was not told '{message.event}': {error}")

    def end(self) -> None:
        if self._deadline == float("inf"):
            self._deadline = monotonic() + 2 * self._seconds
            self._messages.put(None)

    def wait(self) -> list[str]:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, self._deadline - monotonic()) + _GRACE)
            if self._thread.is_alive():
                return [*self._warnings, f"{self._target.label} was perhaps not told: it does not answer"]
        return list(self._warnings)

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            seconds, why = min(self._seconds, self._deadline - monotonic()), "the messages before took too long"
            if seconds > 0:
                try:
                    why = self._target.tell(message, seconds)
                except Exception as error:  # noqa: BLE001 - a run does not fail because nobody could be told
                    why = type(error).__name__  # its text may hold an address
            if why:
                self._warnings.append(f"{self._target.label} was not told '{message.event}': {why}")


def _ended_as(result: Result) -> NotifyEvent:
    """What people are told of a run that is over."""
    if isinstance(result.stopped, CannotGoOn):
        return NotifyEvent.FAILED
    if result.stopped is not None:
        return NotifyEvent.LOW_DISK if isinstance(result.stopped, DiskLow) else NotifyEvent.STOPPED
    if result.failed:
        return NotifyEvent.FAILED
    return NotifyEvent.STOPPED if result.lost else NotifyEvent.DONE


def tell(
    notifier: Notifier, name: str, result: Result, counts: Mapping[str, int], folder: RunFolder, *, whole: bool
) -> None:
    """Tell whoever wants to be told what a run comes to, with a picture of it.

    Of a run that is not the ``whole`` they hear only that it failed: the rest is told when the queue has ended.
    """
    event = _ended_as(result)
    if notifier.anybody and (whole or event == NotifyEvent.FAILED):
        text, picture = "\n".join(summary.lines(result)), enclosure.make(folder, result)
        notifier.send(event, summary.title(name, result), text, counts, result.folder, picture=picture)


def tell_of_all(notifier: Notifier, entries: Sequence[QueueEntry], code: int) -> None:
    """Tell of a queue that is over, which ends with ``code``: one message, with the picture of its last run."""
    results = [entry.result for entry in entries if entry.result is not None]
    if not notifier.anybody:
        return
    done, total = sum(item.done for item in results), sum(entry.images for entry in entries)
    failed = sum(item.failed for item in results)
    whole = sum(entry.exit_code == EXIT_OK for entry in entries)
    title = f"{whole} of {plural(len(entries), 'manifest')} done: {done} of {plural(total, 'image')}"
    title += f", {failed} failed" if failed else ""
    event = NotifyEvent.FAILED
    if code == EXIT_OK:
        event = NotifyEvent.DONE
    elif code in (EXIT_RESUMABLE, EXIT_INTERRUPTED):
        low = any(isinstance(item.stopped, DiskLow) for item in results)
        event = NotifyEvent.LOW_DISK if low else NotifyEvent.STOPPED
    not_run = sum(entry.left_out for entry in entries)
    counts = {"done": done, "failed": failed, "missing": max(0, total - done - failed), "not-run": not_run}
    text = "\n".join([*summary.together(entries), *map(summary.of, entries)])
    pictures = ((enclosure.make(RunFolder(item.folder, runner_id()), item), item) for item in reversed(results))
    picture, shown = next((found for found in pictures if found[0]), (None, results[-1] if results else None))
    folders = [item.folder for item in results if item is not shown]
    first = shown.folder if shown is not None else Path.cwd()
    notifier.send(event, title, text, counts, first, *folders, picture=picture)
