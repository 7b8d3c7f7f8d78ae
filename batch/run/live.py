"""How a run is, told to whoever watches its folder: a listener around the one that is shown.

It keeps the run's :class:`~batch.records.live.LiveStatus` and writes it into the folder, and hands outcomes on to
the reports that grow. What cannot be written ends no run.
"""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import replace
from threading import Event as Signal
from threading import Lock, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from batch.base.errors import FolderLost
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Encoded,
    Event,
    Expected,
    Happening,
    LeftOut,
    Listener,
    Loading,
    Preparing,
)
from batch.records.kinds import HappeningKind, Stage, Status
from batch.records.live import RESTING, LiveStatus, RunState
from batch.records.receipts import Outcome
from batch.run.growing import Growing
from batch.run.live_seats import LiveSeats
from batch.run.together import Parts, together
from batch.store import live

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.records.tasks import Task
    from batch.report.book import Report
    from batch.run.remaining import Remaining
    from batch.store.folder import RunFolder

MOST_OFTEN_S, SIGN_OF_LIFE_S = 1.0, 5.0
"""Seconds between two writings of the status: at least, and at most although nothing has changed."""

LOADS_S = 1.0
"""A worker says before every image that it loads: only what takes so long is shown as loading."""


class LiveListener:
    """Tells ``listener`` all it is told. Enter it when the run begins; when it is left, the run is over."""

    def __init__(
        self,
        folder: RunFolder,
        listener: Listener,
        left: Remaining,
        whole: Sequence[Task] = (),
        options: tuple[str, ...] = (),
    ) -> None:
        """``left`` is what there is to do; of a shard, ``whole`` are the images of all of them.

        ``options`` are those that whoever goes on gives again.
        """
        now = time.time()
        self._folder, self._listener = folder, listener
        self._parts = None if folder.shard is None else Parts.of(whole, folder.shard, left.scan)
        self._status = LiveStatus(
            state=RunState.STARTING, name=folder.name(), pid=os.getpid(), host=platform.node(), began=now,
            updated=now, failed=len(left.given_up), options=options,
        )  # fmt: skip
        self._seats = LiveSeats()
        self._image_s: float | None = None
        self._images_s: Mapping[int, float] = {}
        self._image_began = self._judged = monotonic()
        self._begins: dict[int, tuple[str, float]] = {}
        """Of several seats the images at work, and when each of them began."""
        self._loads_since: float | None = None
        self._changed, self._over, self._lock = Signal(), Signal(), Lock()
        self._growing = Growing(folder, left.scan, now, self._changed.set)
        self._thread = Thread(target=self._go_on, name="status", daemon=True)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._write()
        self._thread.start()
        self._growing.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        self._growing.stop()
        self._over.set()
        self._changed.set()
        self._thread.join()
        self._loads_since = None  # a load that failed has no other end
        self._status = replace(
            without_end(idle(self._status)), state=RunState.ENDED,
            said=f"it ended: {str(error) or type(error).__name__}" if error else self._status.said,
        )  # fmt: skip
        with suppress(OSError, FolderLost):
            self._write()
        self._growing.reporter.leave()

    def on(self, event: Event) -> None:
        """Learn and tell one event."""
        if isinstance(event, Outcome):
            self._growing.take(event)
        with self._lock:
            self._seats.on(event)
            before = self._status
            if not (isinstance(event, Loading | Encoded) and self._seats.renders):
                self._status = after(before, event)
            if isinstance(event, Expected):
                self._images_s = event.images_s
                self._image_s, self._judged = event.image_s, monotonic()
            if isinstance(event, Closed):
                self._loads_since = None
            if isinstance(event, Beat) and event.stage != Stage.SAVE:
                begun = self._loads_since or monotonic()
                self._loads_since = begun if event.stage == Stage.LOAD else None
                self._begins_at(event)
        if self._status.state != before.state:
            self._changed.set()
            if self._status.state == RunState.PAUSED:
                self._growing.hurry()
        self._listener.on(event)

    def _begins_at(self, beat: Beat) -> None:
        """An image is at work; of several, the one that is told of."""
        image, known = self._status.image, self._begins.get(beat.seat)
        if known is None or known[0] != image:
            known = self._begins[beat.seat] = (image, monotonic())
        self._image_began = known[1]
        self._image_s = self._images_s.get(beat.seat, self._image_s)

    def report(self) -> Report:
        """Write the last report. Raises :data:`~batch.run.growing.UNWRITTEN`."""
        return self._growing.finish()

    def say(self, text: str) -> None:
        """What is to be known now: what it is at, or at the end why it is over."""
        with self._lock:
            self._status = replace(self._status, said=text)

    def _go_on(self) -> None:
        written = None
        while not self._over.is_set():
            self._changed.wait(MOST_OFTEN_S)
            self._changed.clear()
            if self._status == written and time.time() - written.updated < SIGN_OF_LIFE_S:
                continue
            try:
                written = self._write()
            except OSError:  # a drive that does not answer just now
                pass
            except FolderLost:  # another runner writes there
                return
            self._over.wait(MOST_OFTEN_S / 2)

    def _write(self) -> LiveStatus:
        self._folder.still_held()
        with self._lock:
            status = self._status = self._at_this_moment()
        live.write(self._folder.own, status, self._folder.runner)
        if self._parts is not None and self._growing.reporter.is_me():
            live.write(self._folder.state, together(self._folder, status, self._parts), self._folder.runner)
        return status

    def _at_this_moment(self) -> LiveStatus:
        """The status with what hangs on the clock."""
        now, status = monotonic(), self._status
        if self._loads_since is not None and now - self._loads_since >= LOADS_S:
            status = _at(idle(status), RunState.LOADING)
        left, rest = None, status.rest_s
        if self._image_s is not None and status.image and status.state in _AT_WORK:
            left = max(0.0, self._image_s - (now - self._image_began))
        if rest is not None and status.state not in RESTING:
            rest, self._judged = max(0.0, rest - (now - self._judged)), now
        generation = self._growing.generation
        return replace(
            status, updated=time.time(), image_left_s=left, rest_s=rest, generation=generation,
            seats=self._seats.statuses,
        )  # fmt: skip


_AT_WORK = {RunState.RENDERING, RunState.STOPPING}
_LASTING = {RunState.PAUSED, RunState.STOPPING}
"""What somebody has asked for: no image at work ends it."""


def after(status: LiveStatus, event: Event) -> LiveStatus:
    """How a run is once an event has come; ``updated`` and what hangs on the clock are left as they were."""
    match event:
        case Preparing(text):
            return replace(status, said=text)
        case Began(total=total, done=done, to_render=to_render):
            return replace(status, total=total, done=done, to_render=to_render)
        case Loading(loaded=loaded):
            state = RunState.ENCODING if loaded else RunState.LOADING
            return replace(idle(_at(status, state)), said=_said(status))
        case Encoded(text, texts):
            return replace(idle(_at(status, RunState.ENCODING)), stage=Stage.ENCODE, part=text, parts=texts)
        case Beat():
            return _beating(status, event)
        case Expected():
            return _expecting(status, event)
        case Happening():
            return _steered(status, event)
        case Closed():
            return without_end(idle(_at(status, RunState.FINISHING)))
        case Outcome():
            return _counted(status, event)
        case LeftOut(count):
            return replace(status, to_render=max(0, status.to_render - count))
        case _:
            return status


def idle(status: LiveStatus) -> LiveStatus:
    """Without an image at work."""
    return replace(status, image="", stage=None, part=0, parts=0)


def without_end(status: LiveStatus) -> LiveStatus:
    """Without an expected end, and how fast it would go."""
    return replace(
        status, ends_at=None, resumed_s=None, ends_by="", ends_with=None, ends_from="", per_hour=None
    )  # fmt: skip


_NO_END = {RunState.STOPPING, RunState.FINISHING, RunState.ENDED}


def _beating(status: LiveStatus, beat: Beat) -> LiveStatus:
    match beat:
        case Beat(stage=Stage.SAVE | Stage.ENCODE):  # saved behind the next image; of texts it is told how many
            return status
        case Beat(stage=Stage.LOAD):
            return _at(status, RunState.LOADING) if status.state == RunState.STARTING else status
        case Beat(name, stage, part, parts):
            now = _at(status, RunState.RENDERING)
            return replace(now, image=name, stage=stage, part=part, parts=parts, said=_said(now))


def _steered(status: LiveStatus, happening: Happening) -> LiveStatus:
    match happening.kind:
        case HappeningKind.RESUMED:
            return replace(without_end(status), state=RunState.LOADING, said="")
        case HappeningKind.PAUSED:
            return replace(without_end(idle(status)), state=RunState.PAUSED, said=happening.text)
        case HappeningKind.STOPPING:
            now = (
                idle(status) if happening.data.get("level") == "drop" else status
            )  # dropped, it takes no time more
            return replace(without_end(now), state=RunState.STOPPING, said=happening.text)
        case _:
            return status


def _expecting(status: LiveStatus, expected: Expected) -> LiveStatus:
    status = replace(status, rest_s=expected.seconds)
    if status.state in _NO_END:
        return status
    cutoff, ends_s = expected.cutoff, expected.ends_s
    by_clock = cutoff is not None and cutoff.clock
    status = replace(
        status,
        ends_at=None if ends_s is None else time.time() + ends_s,
        resumed_s=None,
        ends_by=cutoff.limit if cutoff else "",
        ends_with=cutoff.images if cutoff else None,
    )
    if status.state == RunState.PAUSED:
        resumed_s = expected.seconds if by_clock else ends_s
        return replace(status, ends_at=status.ends_at if by_clock else None, resumed_s=resumed_s)
    return replace(
        status,
        ends_from=expected.source,
        ends_guessed=expected.guessed,
        per_hour=expected.per_hour,
    )


def _at(status: LiveStatus, state: RunState) -> LiveStatus:
    return status if status.state in _LASTING else replace(status, state=state)


def _said(status: LiveStatus) -> str:
    return status.said if status.state in _LASTING else ""


def _counted(status: LiveStatus, outcome: Outcome) -> LiveStatus:
    """Of a measurement, what ran out of memory is a result and no failure."""
    failed = outcome.failure is None or not outcome.failure.is_result
    is_done = outcome.status == Status.DONE
    done = status.done + is_done
    return replace(
        status,
        done=done,
        ends_with=None if status.ends_with is None else max(done, status.ends_with),
        failed=status.failed + (failed and not is_done),
        to_render=max(0, status.to_render - 1),
    )
