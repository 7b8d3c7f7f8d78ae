"""Where everything that comes up while a run goes on arrives: counted, shown, written down, judged, told."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.base.errors import FailedInARow
from batch.base.text import plural
from batch.manifest.schema import RunOptions
from batch.manifest.values import shown
from batch.records.events import Closed, Crew, Event, Happening, Listener
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.receipts import Outcome, Receipt
from batch.records.tasks import Task
from batch.run.account import Account
from batch.run.drift import Drift
from batch.run.notifier import NotifyEvent
from batch.store import events

if TYPE_CHECKING:
    from batch.plan.plan import Plan
    from batch.run.limits import Gate
    from batch.run.notifier import Notifier
    from batch.run.pace import Pace
    from batch.run.remaining import Remaining
    from batch.store.events import EventLog
    from batch.store.folder import RunFolder


DEVICES_NAMED = 8
"""Of more devices the others are counted."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """One run's :class:`~batch.records.events.Listener`. Nothing that only shows or tells can end the run."""

    plan: Plan
    folder: RunFolder
    run: RunOptions
    left: Remaining
    """What there was to do when it began."""
    gate: Gate
    listener: Listener
    """Who is shown the run."""
    notifier: Notifier
    log: EventLog
    pace: Pace
    skipped: dict[str, str] = field(init=False)
    """Of a measurement: ids that are not tried, and why."""
    rendered: int = 0
    to_redo: set[str] = field(init=False)
    """Ids of what is done, and to be rendered again all the same."""
    lost: int = 0
    """Finished pictures that were not there any more when the report was written."""
    out_of_memory: int = 0
    """Of a measurement: images whose result is that they do not fit."""
    given_up: int = 0
    again: list[Task] = field(default_factory=list)
    """Not written, or without embeddings: worth another try at the end of the same run."""
    deaths: int = 0
    """Workers whose place another took."""
    drift: Drift = field(default_factory=Drift)
    account: Account = field(default_factory=Account)
    """What is told of the run when it is over."""
    _devices: int = 1
    """The most at once; as long as there is one, nothing is told of it."""
    _failed: int = 0
    _in_a_row: int = 0
    _unloaded: set[str] = field(default_factory=set)
    """Why models cannot be loaded: all images of one are one failure."""
    _second: bool = False
    _cut: set[str] = field(default_factory=set)
    """Texts of which it was told that they were cut."""

    def __post_init__(self) -> None:
        self.skipped = dict(self.left.skipped)
        self.to_redo = set(self.left.redo)

    def on(self, event: Event) -> None:
        """Raises :class:`FailedInARow` when one image after the other has failed."""
        self.account.on(event)
        if isinstance(event, Outcome):
            self._ended(event)
            return
        if isinstance(event, Crew):
            self._crew(event)
        if isinstance(event, Happening):
            self.log.write(event, self.account.where.label(event.seat))
            self.deaths += event.kind.is_a_death
            if event.kind == HappeningKind.STALLED:
                title = f"{self.plan.name} stalled"
                self.notifier.send(NotifyEvent.STALLED, title, event.text, self.figures(), self.folder.root)
        self._show(event)

    def _crew(self, crew: Crew) -> None:
        self.gate.crew(crew)
        if len(crew.seats) > self._devices:
            self._devices = len(crew.seats)
            named = ", ".join(seat.label for seat in crew.seats[:DEVICES_NAMED])
            more = f" and {self._devices - DEVICES_NAMED} more" if self._devices > DEVICES_NAMED else ""
            text = f"it renders on {plural(self._devices, 'device')}: {named}{more}"
            self.log.write(Happening(kind=HappeningKind.DEVICES, text=text, data={events.DEVICES: self._devices}))

    def _show(self, event: Event) -> None:
        with suppress(OSError, ValueError):  # the terminal, or who reads the pipe, may be gone: the run goes on
            expected = self.pace.after(event)
            if expected is not None:
                self.account.on(expected)
            # With an image, and at the end, it is said when all will be done.
            for told in (expected, event) if isinstance(event, Outcome | Closed) else (event, expected):
                if told is not None:
                    self.listener.on(told)

    def take_again(self) -> list[Task]:
        """What is worth a second try in this run; from now on nothing is."""
        self._second, again, self.again = True, self.again, []
        return again

    @property
    def failed(self) -> int:
        """Images that failed in this run and are not tried again in it."""
        return self._failed + len(self.again)

    @property
    def done(self) -> int:
        """Images of the plan that should be there."""
        return self.left.done + len(self.to_redo) + self.rendered

    def figures(self) -> dict[str, int]:
        """Done, failed and missing images of the whole plan."""
        done = self.done - self.lost
        return {"done": done, "failed": self.failed, "missing": max(0, len(self.plan.tasks) - done - self.failed)}

    def _ended(self, outcome: Outcome) -> None:
        self.gate.finished(outcome)
        failure = outcome.failure
        without_texts = failure is not None and failure.error.kind == ErrorKind.MISSING_EMBEDS
        transient = without_texts or (failure is not None and failure.error.stage == Stage.SAVE)
        if failure is not None and transient and not self._second and failure.attempts < self.run.retries:
            self.again.append(failure.task)
            kind, what = HappeningKind.NOT_WRITTEN, "was not written"
            if without_texts:
                kind, what = HappeningKind.NO_EMBEDS, "was not rendered"
            text = f"{failure.task.name} {what} ({failure.error.message}): again at the end"
            self.on(Happening(kind=kind, text=text, task=outcome.key))
        else:
            self._count(outcome)
        if failure is not None and failure.is_result:
            return
        if not without_texts:  # a text that cannot be encoded says nothing of the images of others
            self._in_a_row = 0 if outcome.status == Status.DONE else self._in_a_row + self._is_another(outcome)
        if self._in_a_row >= self.run.max_consecutive_failures:
            reason = f": {outcome.error.message}" if outcome.error else ""
            said = f"{plural(self._in_a_row, 'image')} failed one after the other{reason}"
            raise FailedInARow(said, self._in_a_row)

    def _is_another(self, outcome: Outcome) -> bool:
        """Whether a failure has a cause of its own."""
        if outcome.error is None or outcome.error.kind != ErrorKind.NOT_LOADED:
            return True
        before = len(self._unloaded)
        self._unloaded.add(outcome.error.message)
        return len(self._unloaded) > before

    def _count(self, outcome: Outcome) -> None:
        self._show(outcome)
        if outcome.failure is not None:
            failure, error = outcome.failure, outcome.failure.error
            if failure.is_result:
                self.out_of_memory += 1
            else:
                self._failed += 1
                self.given_up += failure.attempts >= self.run.retries
            text = f"{failure.task.name} failed in {error.stage}: {error}"
            self.log.write(Happening(kind=HappeningKind.FAILED, text=text, task=outcome.key))
        # A measurement is none when others compute on the card.
        record = outcome.record
        card = record.measurement.card if record is not None else None
        if record is not None and record.task.repeat is not None and card is not None and card.foreign:
            others = plural(card.foreign, "other program")
            text = f"{record.task.name}: {others} computed on the card meanwhile, so its figures mean little"
            data = {"processes": card.foreign}
            self.on(Happening(kind=HappeningKind.FOREIGN_PROCESS, text=text, task=outcome.key, data=data))
        if outcome.receipt is not None:
            self.rendered += 1
            self.to_redo.discard(outcome.key)
            self._tell_cuts(outcome.receipt)
            for happening in self.drift.seen(outcome.receipt):
                self.on(happening)

    def _tell_cuts(self, receipt: Receipt) -> None:
        """Of every text that its encoder did not read to the end: once."""
        for name, text, read in receipt.cuts:
            if text in self._cut:
                continue
            self._cut.add(text)
            said = f"{name} cut: {shown(text)} {read.said}"
            data = {"tokens": read.tokens, "read": read.read, "lost": read.lost}
            self.on(Happening(kind=HappeningKind.PROMPT_CUT, text=said, task=receipt.task.id, data=data))
