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
from threading import Event, Thread
from time import monotonic
from typing import Protocol


class NotifyEvent(StrEnum):
    """What people are told, with the word that commands get."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    STALLED = "stalled"
    LOW_DISK = "low-disk"


SECONDS = 30.0
"""How long one target may take for one message."""

LEFT = "nobody waited for it any longer"
"""Why one was not told whom a stop has left."""

_GRACE = 5.0
"""Seconds beyond that for a thread to end what it has stopped."""

_LEAVING_S = 1.5
"""The same where nobody is waited for any more."""


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

    def tell(self, message: Message, seconds: float, leave: Event) -> str:
        """Tell it, in so many seconds and until ``leave`` is set; "" or why that failed. May raise anything."""


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

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Who is being told, or waits to be."""
        return tuple(line.label for line in self._lines if line.left_s)

    @property
    def left_s(self) -> float:
        """Seconds that this may still take."""
        return max((line.left_s for line in self._lines), default=0.0)

    def end(self) -> None:
        """Take no more messages. All are told in about twice what one message may take."""
        for line in self._lines:
            line.end()

    def leave(self) -> None:
        """Tell nobody any more: commands are ended, services left."""
        for line in self._lines:
            line.leave()

    def close(self) -> list[str]:
        """Wait until all are told, or left; what went wrong."""
        self.end()
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
        self._until = float("inf")
        """When the message that is being told is given up."""
        self._leave = Event()

    @property
    def label(self) -> str:
        return self._target.label

    @property
    def left_s(self) -> float:
        if not self._thread.is_alive():
            return 0.0
        waiting = max(0, self._messages.qsize() - 1) * self._seconds  # behind them lies the end
        return max(0.0, min(self._deadline, self._until + waiting) - monotonic())

    def put(self, message: Message) -> None:
        if self._deadline < float("inf"):
            return
        self._messages.put(message)
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError as error:  # the system has no thread left
                self._warnings.append(f"{self.label} was not told '{message.event}': {error}")

    def end(self) -> None:
        if self._deadline == float("inf"):
            self._deadline = monotonic() + 2 * self._seconds
            self._messages.put(None)

    def leave(self) -> None:
        self._leave.set()
        self._deadline = monotonic()

    def wait(self) -> list[str]:
        if self._thread.ident is not None:
            grace = _LEAVING_S if self._leave.is_set() else _GRACE
            self._thread.join(max(0.0, self._deadline - monotonic()) + grace)
            if self._thread.is_alive():
                return [*self._warnings, f"{self.label} was perhaps not told: it does not answer"]
        return list(self._warnings)

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            seconds = min(self._seconds, self._deadline - monotonic())
            why = LEFT if self._leave.is_set() else "the messages before took too long"
            if seconds > 0 and not self._leave.is_set():
                self._until = monotonic() + seconds
                try:
                    why = self._target.tell(message, seconds, self._leave)
                except Exception as error:  # noqa: BLE001 - a run does not fail because nobody could be told
                    why = type(error).__name__  # its text may hold an address
            if why:
                self._warnings.append(f"{self.label} was not told '{message.event}': {why}")
