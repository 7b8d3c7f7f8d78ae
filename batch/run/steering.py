"""What is asked of a run while it goes on: by signals, and by orders of other processes.

The first signal has the image at work finished, the second drops it, the third ends the process. Where no image
is at work there is nothing to finish, and the first one drops. No lock is taken where a signal handler goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from batch.base.errors import Interrupted, LimitReached
from batch.base.text import at_clock, duration, exactly
from batch.engines.base import Helm
from batch.records.events import Happening, Listener
from batch.records.kinds import HappeningKind
from batch.run.at_work import AtWork, Following
from batch.run.limits import Limits
from batch.run.stopping import Level, Stopping
from batch.store.orders import AnswerState, OrderKind

if TYPE_CHECKING:
    from batch.manifest.schema import RunOptions
    from batch.run.options import Options
    from batch.store.orders import Order

TICK_S = 0.1
UNHEARD_S = 1.0
"""Whoever renders has told nobody for so long: it waits for something else, and tells too late."""
LATEST_S = 366 * 24 * 3600.0
"""An end that is further away is no news."""


class Steering(Helm):
    """Of one program, whose runs may come one after the other. Used by its main thread and one for orders."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._at_work = AtWork(clock)
        self._level = self._told = Level.GO_ON
        self._first = self._by = ""
        """Whose order was the first that had it stop, and the last; empty where that was a signal, or the time."""
        self._late = ""
        """What became of the time that a stop may take, where an image is dropped for it."""
        self._asked_at = 0.0
        self._within: float | None = None
        self._drops = False
        self._limits, self._begun = Limits(), 0.0
        self._pausing = self._paused = False
        self._reporting = self._leaving = self._nudged = self._over_with = False
        self._told_at = -UNHEARD_S

    # As the event that engines and downloads know

    def is_set(self) -> bool:
        """Whether what is at work is to be dropped: as asked, the time is up, or it is no image any more."""
        if self._level == Level.FINISH and not self._reporting and (self._overdue() or not self._at_work.name):
            self._over_with = self._told == Level.FINISH and not self._at_work.name
            self._by, self._late = "", f"{self._time} is up" if self._at_work.name else ""
            self._level = Level.DROP
        return self._level >= Level.DROP

    def set(self) -> None:
        """Drop what is at work, and stop."""
        self._level = max(self._level, Level.DROP)

    def wait(self, timeout: float | None = None) -> bool:
        """As of any event; it looks now and then, since a signal handler must not wake anybody."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = TICK_S if end is None else min(TICK_S, end - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
        return True

    # What is asked

    @property
    def level(self) -> Level:
        """How the run is to end."""
        return self._level

    @property
    def reason(self) -> str:
        """Why it stops."""
        return f"{self._first} asked for it" if self._first else "interrupted"

    @property
    def finishing(self) -> bool:
        """Nothing more is to be started."""
        return self._level >= Level.FINISH

    @property
    def pausing(self) -> bool:
        """After the image at work the device is to be given back."""
        return self._pausing

    @property
    def out_of_time(self) -> bool:
        """Half of what is kept for saving and the report is gone."""
        return self._within is not None and self._overdue(0.5)

    @property
    def left_s(self) -> float | None:
        """What is left of the time that a stop may take, without what the end of the program takes itself.

        None where there is none, or nobody has asked to stop.
        """
        if self._within is None or self._level == Level.GO_ON:
            return None
        return self._within - self._at_work.ending_s(self._within) - (self._clock() - self._asked_at)

    def look_s(self, most: float) -> float:
        """Seconds until somebody has to look whether a report is to be left, at most so many."""
        left = self.left_s
        return most if left is None or left <= 0 else min(most, left)

    def interrupt(self) -> Happening | None:
        """A signal: one level further. What to tell at once; None where the run will tell it itself.

        For signal handlers: it takes no lock.
        """
        if self._nudged:  # the thread that looks for orders has sent it, so that this one hears of it
            self._nudged = False
            return None
        self._to(Level(min(self._level + 1, Level.KILL)))
        if self._clock() - self._told_at < UNHEARD_S:
            return None
        self._told = self._level
        return self._happening()

    def leave_report(self) -> None:
        """Raise KeyboardInterrupt where a report is being written that is to be left. For signal handlers."""
        if self._reporting and (self._leaving or self._overdue()):
            raise KeyboardInterrupt

    def obey(self, order: Order) -> None:
        """What another process asks."""
        match order.kind:
            case OrderKind.STOP | OrderKind.DROP:
                wanted = Level.FINISH if order.kind == OrderKind.STOP else Level.DROP
                if wanted > self._level:
                    self._to(wanted, order.by)
            case OrderKind.PAUSE:
                self._pausing = True
            case OrderKind.RESUME:
                self._pausing = False

    def _to(self, level: Level, by: str = "") -> None:
        if self._level == Level.GO_ON:
            self._asked_at, self._first = self._clock(), by
        self._by = by
        if level == Level.FINISH and not self._worth_finishing():
            level = Level.DROP
            if self._at_work.name and not self._drops:
                self._late = f"{self._time} is too short for {self._at_work.name}"
        self._level = max(self._level, level)
        self._leaving = self._reporting and self._level >= Level.DROP

    @property
    def _time(self) -> str:
        return f"--stop-within {exactly(self._within or 0.0)}"

    def _worth_finishing(self) -> bool:
        if self._reporting:
            return True
        if self._drops or not self._at_work.name:
            return False
        left, within = self._at_work.left_s, self._within
        if left is None or within is None:
            return True
        return left <= within - self._at_work.ending_s(within) - self._at_work.reserve_s(within)

    def _overdue(self, kept: float = 1.0) -> bool:
        """Whether the time that a stop may take is up, but for a share of what saving and the report need."""
        if self._within is None or (left := self.left_s) is None:
            return False
        return left <= (0.0 if self._reporting else kept * self._at_work.reserve_s(self._within))

    # What is told

    def tell(self, listener: Listener) -> None:
        """Tell how the run is to end, where that is new."""
        self._told_at = self._clock()
        self.is_set()
        if self._told < self._level and not self._over_with:
            self._told = self._level
            listener.on(self._happening())

    def _happening(self) -> Happening:
        stopping, data = self._stopping(), dict[str, object](level=self._level.name.lower())
        if self._by:
            data["by"] = self._by
        if self._level == Level.FINISH:
            data["seconds"] = self._at_work.left_s
        return Happening(kind=HappeningKind.STOPPING, text=stopping.text, data=data, hint=stopping.hint)

    def _stopping(self) -> Stopping:
        return Stopping(
            level=self._level, name=self._at_work.name, several=self._at_work.several, left=self._at_work.left,
            within=self._within, by=self._by,
            by_order=bool(self._first), late=self._late, reporting=self._reporting, leaving=self._leaving,
            over_with=self._over_with,
        )  # fmt: skip

    def rest(self, listener: Listener) -> None:
        """See :class:`~batch.engines.base.Helm`. Raises :class:`LimitReached` where a limit is reached."""
        start, self._paused = self._clock(), True
        try:
            text = "paused: everything is saved, and the memory is free; `resume` continues it" + self._at_latest()
            listener.on(Happening(kind=HappeningKind.PAUSED, text=text))
            while self._pausing and not self.finishing:
                self.tell(listener)
                if over := self._over():
                    raise LimitReached(f"{over} is reached, and the run was paused")
                time.sleep(TICK_S)
        finally:
            self._paused = False
        self.tell(listener)
        if self.finishing:
            raise Interrupted(self.reason)
        listener.on(Happening(kind=HappeningKind.RESUMED, text=f"resumed after {duration(self._clock() - start)}"))

    def _over(self) -> str:
        """The limit that is reached, however long the next image may take."""
        return next((name for name, left in self._deadlines() if left <= 0), "")

    def _at_latest(self) -> str:
        """When a limit ends the run, though it is paused; empty where none does."""
        left = min((left for _, left in self._deadlines()), default=None)
        if left is None or left > LATEST_S:
            return ""
        return f"; it ends {at_clock(datetime.now(UTC) + timedelta(seconds=left))}, paused or not"

    def _deadlines(self) -> list[tuple[str, float]]:
        return self._limits.deadlines(self._clock() - self._begun, datetime.now(UTC))

    # A run

    def follow(self, listener: Listener, run: RunOptions, options: Options) -> Listener:
        """Learn of a run what is at work and how it may be stopped; the listener to tell in place of this one."""
        self._drops, self._within = run.stop == "drop", options.stop_within
        self._limits, since = options.limits, options.limits.since
        self._begun = self._clock() if since is None else since
        return Following(listener, self._at_work)

    def released(self) -> None:
        """The folder is left: the next run begins anew, and is not paused. Until then nobody tells anything."""
        self._pausing, self._told_at = False, -UNHEARD_S
        self._at_work = AtWork(self._clock, images=self._at_work.images)

    @property
    def answer_state(self) -> AnswerState:
        """What whoever gave an order is told."""
        if self.finishing:
            return AnswerState.STOPPING
        if not self._pausing:  # a run that rests goes on at its next look
            return AnswerState.RUNNING
        return AnswerState.PAUSED if self._paused else AnswerState.PAUSING

    def answer(self) -> str:
        """The same in words."""
        match self.answer_state:
            case AnswerState.STOPPING:
                return self._stopping().answer
            case AnswerState.PAUSING:
                return f"pausing when {self._at_work.until_a_pause}"
            case AnswerState.PAUSED:
                return f"paused: its memory is free{self._at_latest()}"
            case AnswerState.RUNNING:
                return "going on"

    def to_be_woken(self) -> bool:
        """Whether the main thread is to be sent a signal, since it writes a report that is to be left; once."""
        if not self._reporting or self._nudged or not (self._leaving or self._overdue()):
            return False
        self._nudged = True
        return True

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """While a report is written, which a signal or an order may have left out: KeyboardInterrupt is raised."""
        self._reporting, self._leaving = True, False
        try:
            self.leave_report()  # where its time is up before it begins
            yield
        finally:
            self._reporting = False
