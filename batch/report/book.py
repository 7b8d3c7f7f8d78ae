"""The reports of a run, written as often as asked: what is known of its images is kept from one time to the next.

A report that is written once is the same with one time. So what a run writes while it goes on, and at its end,
is what ``report`` makes of the receipts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.records.receipts import Outcome
from batch.records.tasks import Task
from batch.report import table
from batch.report.images import loras_of, reported
from batch.report.order import place_by
from batch.report.page import data as pages
from batch.report.page.entries import entries
from batch.report.page.overview import commands, overview
from batch.report.sheet.growing import Sheets
from batch.store import events, live, measured, parts
from batch.store.receipts import Scan

if TYPE_CHECKING:
    from batch.records.receipts import Failure, Receipt
    from batch.store.events import LogEntry
    from batch.store.folder import RunFolder
    from batch.store.losses import Lost
    from batch.store.touched import Touched


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and what to tell the user about it."""

    csv: Path
    sheets: tuple[Path, ...]
    html: Path
    warnings: tuple[str, ...]
    there: frozenset[str]
    """Ids of the images of the plan that are there."""

    @property
    def done(self) -> int:
        """How many these are."""
        return len(self.there)


class Book:
    """What became of the images of a run, in the words of its reports.

    ``scan`` is what the folder held when it was opened. For one thread at a time.
    """

    def __init__(self, folder: RunFolder, tasks: Sequence[Task], scan: Scan) -> None:
        self._folder, self._tasks = folder, tasks
        self._name, self._id = folder.name(), folder.id()
        self._measures = any(task.repeat is not None for task in tasks)
        self._loras = loras_of(tasks)
        self._place = {task.id: index for index, task in enumerate(tasks)}
        origin = folder.origin()
        place = place_by(origin.order)
        self._order = sorted(range(len(tasks)), key=lambda index: place(tasks[index]))
        """Images in the order of the manifest, by their number in the plan."""
        self._sheets = Sheets(folder, [tasks[index] for index in self._order])
        self._again = commands(
            folder.root,
            origin.source,
            images=len(tasks),
            measures=self._measures,
            options=parts.asked(folder.state),
        )
        self._know(scan)
        self._images = reported(tasks, scan, self._loras)
        self._told = [pages.told_apart(image) for image in self._images]
        self._lines = [b""] * len(tasks)
        self._texts = [""] * len(tasks)
        self._records = [""] * len(tasks)
        self._varying: list[str] = []
        self._stale = set(range(len(tasks)))
        """Images that became others since they were last put in words."""
        self._untold = set(self._stale)
        """Images whose words changed since the last piece of the page."""
        self._history: tuple[object, list[LogEntry]] = None, []
        self._said: Mapping[str, object] = {}
        """What the last piece of the page said beside its images."""
        self.pieces = 0
        """Written so far."""

    @cached_property
    def _entries(self) -> dict[str, object]:
        return entries(self._tasks)

    def _know(self, scan: Scan) -> None:
        self._receipts: dict[str, Receipt] = dict(scan.receipts)
        self._failures: dict[str, Failure] = dict(scan.failures)
        self._touched: dict[str, Touched] = dict(scan.touched)
        self._lost: dict[str, Lost] = dict(scan.lost)
        self._skipped: dict[str, str] = dict(scan.skipped)
        self._scan = Scan(self._receipts, self._failures, self._touched, self._lost, self._skipped)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Learn what became of images since; of two outcomes of one image the later one counts."""
        for outcome in outcomes:
            key = outcome.key
            if key not in self._place or outcome.record is None:
                continue
            if outcome.receipt is not None:
                self._receipts[key] = outcome.receipt
                for known in (self._failures, self._touched, self._lost):
                    known.pop(key, None)
            elif outcome.failure is not None and key not in self._receipts:
                self._failures[key] = outcome.failure
            self._skipped.pop(key, None)
            self._stale.add(self._place[key])

    def settle(self, scan: Scan) -> None:
        """Believe what the folder holds rather than what was told; files may have been touched meanwhile."""
        self._know(scan)
        self._stale = set(range(len(self._tasks)))

    def write(self, began: float | None = None, *, last: bool = True) -> Report:
        """Write results.csv, the contact sheet and report.html. Raises OSError.

        Of a run that ``began`` then, write what has changed for its page since, too. While it goes on this is not
        the ``last`` time, and the page follows the run.
        """
        self._put_in_words()
        csv, warning = table.write(self._folder, self._lines)
        sheets = self._sheets.write(self._scan)
        ordered = [self._images[index] for index in self._order]
        beside = overview(ordered, self._scan, self._happened(), self._again, self._place)
        data = pages.page_data(self._name, self._id, self._told, beside)
        data |= {"entries": self._entries, "order": self._order}
        if began is not None:
            self._write_piece(data)
        path = self._folder.root / "report.html"
        moment = None if last or began is None else pages.LivePage(began, self.pieces, time.time())
        text = pages.page(data, self._texts, self._recorded(range(len(self._tasks))), moment)
        atomic.write(path, text.encode(), self._folder.runner)
        there = frozenset(self._receipts.keys() & self._place.keys())
        warnings = (*filter(None, [warning]), *self._sheets.warnings)
        return Report(csv, tuple(sheets), path, warnings, there)

    def _put_in_words(self) -> None:
        if self._measures:
            self._look_for_skipped()
        stale, self._stale = self._stale, set()
        for index in stale:
            (self._images[index],) = reported([self._tasks[index]], self._scan, self._loras)
            self._told[index] = pages.told_apart(self._images[index])
        varying = pages.varying_of(self._told)
        if varying != self._varying:
            stale, self._varying = set(range(len(self._tasks))), varying
        for index in stale:
            image, told = self._images[index], self._told[index]
            row = table.row(image)
            self._lines[index] = table.line(row)
            text = pages.image_text(image, row, {key: told.get(key, "") for key in varying})
            record = pages.record_text(image)
            if (text, record) != (self._texts[index], self._records[index]):
                self._texts[index], self._records[index] = text, record
                self._untold.add(index)

    def _look_for_skipped(self) -> None:
        """Of a measurement the folder says what is not tried: no outcome does."""
        for key, why in measured.skipped(self._folder.state).items():
            if key in self._place and key not in self._receipts and key not in self._failures:
                self._skipped[key] = why
                self._stale.add(self._place[key])

    def _happened(self) -> list[LogEntry]:
        """The history, read again only where there is more of it."""
        try:
            size: object = events.size(self._folder)
        except OSError:
            size = None
        if size is None or size != self._history[0]:
            self._history = size, events.read(self._folder)
        return self._history[1]

    def _write_piece(self, data: Mapping[str, object]) -> None:
        """The first is whole: a page of an earlier run in this folder goes on from there."""
        if not self.pieces:
            self._untold, self._said = set(range(len(self._tasks))), {}
        news = {key: value for key, value in data.items() if self._said.get(key) != value}
        changed = sorted(self._untold)
        images = [f"[{index},{self._texts[index]}]" for index in changed]
        told = {"generation": self.pieces + 1, "written": time.time(), **news}
        text = pages.with_images(told, images, self._recorded(changed))
        live.write_piece(self._folder.state, self.pieces + 1, text, self._folder.runner)
        self.pieces += 1
        self._untold, self._said = set(), data

    def _recorded(self, some: Iterable[int]) -> dict[str, str]:
        return {self._tasks[index].id: self._records[index] for index in some if self._records[index]}
