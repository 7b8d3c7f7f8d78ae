"""Where everything that comes up while a run goes on arrives: counted, shown, written down, judged, told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batch.base.errors import CannotGoOn
from batch.base.text import plural
from batch.records import (
    ErrorKind,
    Failure,
    Happening,
    HappeningKind,
    Outcome,
    Task,
)
from batch.run import execute
from batch.run.drift import Drift
from batch.run.limits import Gate
from batch.run.notify import Notifier
from batch.store.events import EventLog

DEATHS = {HappeningKind.WORKER_DIED, HappeningKind.STALLED, HappeningKind.LOAD_FAILED}
"""After these another worker has taken the place of one."""


class Watcher(execute.Watcher, Protocol):
    """Who is shown a run: the terminal."""

    def finished(self, outcome: Outcome) -> None:
        """One image is done or has failed."""

    def left_out(self, count: int) -> None:
        """So many of the images that were to be rendered will not be."""

    def closed(self) -> None:
        """No more will come: free the terminal."""


@dataclass(slots=True)
class Desk:
    """One run's. Nothing that only shows or tells can end the run."""

    name: str
    folder: Path
    total: int
    done_before: int
    watcher: Watcher
    log: EventLog
    notifier: Notifier
    gate: Gate
    limit: int
    """So many failures one after the other end the run."""
    retries: int
    measures: bool = False
    """A run that measures: to run out of memory is a result."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Of a measurement: ids that are not tried, and why."""
    counts: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    again: list[Task] = field(default_factory=list)
    """Not written, or without embeddings: worth another try at the end of the same run."""
    deaths: int = 0
    """Workers whose place another took."""
    drift: Drift = field(default_factory=Drift)
    _in_a_row: int = 0
    _second: bool = False

    def fetching(self, text: str) -> None:
        """See :class:`batch.hub.Teller`."""
        self._show(lambda: self.watcher.fetching(text))

    def received(self, name: str, done: int, total: int) -> None:
        """See :class:`batch.hub.Teller`."""
        self._show(lambda: self.watcher.received(name, done, total))

    def loading(self, texts: int) -> None:
        """See :class:`batch.run.execute.Watcher`."""
        self._show(lambda: self.watcher.loading(texts))

    def encoding(self, text: int, texts: int) -> None:
        """See :class:`batch.run.execute.Watcher`."""
        self._show(lambda: self.watcher.encoding(text, texts))

    def step(self, name: str, step: int, steps: int) -> None:
        """See :class:`batch.run.execute.Watcher`."""
        self._show(lambda: self.watcher.step(name, step, steps))

    def happened(self, happening: Happening) -> None:
        """See :class:`batch.run.execute.Watcher`."""
        self.log.write(happening)
        self._show(lambda: self.watcher.happened(happening))
        self.deaths += happening.kind in DEATHS
        if happening.kind == HappeningKind.STALLED:
            self.notifier.send("stalled", f"{self.name} stalled", happening.text, self.figures(), self.folder)

    def finished(self, outcome: Outcome) -> None:
        """An outcome came. Raises :class:`CannotGoOn` when one after the other has failed."""
        self.gate.finished(outcome)
        failure = outcome.failure
        without_texts = failure is not None and failure.error.kind == ErrorKind.MISSING_EMBEDS
        if failure is not None and self._worth_it(failure, without_texts=without_texts):
            self.again.append(failure.task)
            kind, what = (
                (HappeningKind.NO_EMBEDS, "was not rendered")
                if without_texts
                else (HappeningKind.NOT_WRITTEN, "was not written")
            )
            text = f"{failure.task.name} {what} ({failure.error.message}): again at the end"
            self.happened(Happening(kind=kind, text=text, task=outcome.key))
        else:
            self._count(outcome)
        if failure is not None and self._is_result(failure):
            return
        if not without_texts:  # a text that cannot be encoded says nothing of the images of others
            self._in_a_row = 0 if outcome.status == "done" else self._in_a_row + 1
        if self._in_a_row >= self.limit:
            reason = f": {outcome.error.message}" if outcome.error else ""
            raise CannotGoOn(f"{plural(self._in_a_row, 'image')} failed one after the other{reason}")

    def take_again(self) -> list[Task]:
        """What is worth a second try in this run; from now on nothing is."""
        self._second, again, self.again = True, self.again, []
        return again

    def figures(self) -> dict[str, int]:
        """Done, failed and missing images of the whole plan."""
        done = self.done_before + self.counts["done"]
        return {"done": done, "failed": self.failed, "missing": max(0, self.total - done - self.failed)}

    @property
    def failed(self) -> int:
        """Images that failed in this run and are not tried again in it."""
        return self.counts["failed"] + len(self.again)

    def closed(self) -> None:
        """No more images will come."""
        self._show(self.watcher.closed)

    def _worth_it(self, failure: Failure, *, without_texts: bool) -> bool:
        transient = failure.error.stage == "save" or without_texts
        return transient and not self._second and failure.attempts < self.retries

    def _is_result(self, failure: Failure) -> bool:
        return failure.is_result

    def left_out(self, count: int) -> None:
        """See :class:`Watcher`."""
        self._show(lambda: self.watcher.left_out(count))

    def _count(self, outcome: Outcome) -> None:
        failure = outcome.failure
        result = failure is not None and self._is_result(failure)
        self.counts[ErrorKind.OUT_OF_MEMORY if result else outcome.status] += 1
        self._show(lambda: self.watcher.finished(outcome))
        if failure is not None:
            self.given_up += failure.attempts >= self.retries and not result
            error = failure.error
            text = f"{failure.task.name} failed in {error.stage}: {error.kind}: {error.message}"
            self.log.write(Happening(kind=HappeningKind.FAILED, text=text, task=outcome.key))
        if self.measures:
            self._foreign(outcome)
        if outcome.receipt is not None:
            for happening in self.drift.seen(outcome.receipt):
                self.happened(happening)

    def _foreign(self, outcome: Outcome) -> None:
        """A measurement is none when others compute on the card."""
        record = outcome.receipt or outcome.failure
        card = record.measurement.card if record is not None else None
        if record is not None and card is not None and card.foreign:
            others = plural(card.foreign, "other program")
            text = f"{record.task.name}: {others} computed on the card meanwhile, so its figures mean little"
            data = {"processes": card.foreign}
            self.happened(Happening(kind=HappeningKind.FOREIGN_PROCESS, text=text, task=outcome.key, data=data))

    @staticmethod
    def _show(show: Callable[[], None]) -> None:
        unheard(show)


def unheard(show: Callable[[], None]) -> None:
    """Show something; the terminal, or whoever reads the pipe, may be gone: the run goes on."""
    with suppress(OSError, ValueError):
        show()
