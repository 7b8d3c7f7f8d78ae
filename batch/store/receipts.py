"""Receipts and failures: which images of a run folder are done, and how the others failed last.

An image is done when its receipt is there and the file it names has the size it names. Nothing else
decides: no mtimes, no order in a directory, no log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from batch.base.collector import without_gc
from batch.records.reading import to_json
from batch.records.receipts import Failure, Receipt
from batch.store import files, measured


@dataclass(frozen=True, slots=True)
class Scan:
    """What a run folder holds: valid receipts and the last failures, by task id."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Of a measurement: why tasks are not tried."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Every receipt that can be read, whatever became of its file, and the receipts that cannot, with why."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    damaged: Mapping[Path, str] = field(default_factory=dict)


class Receipts:
    """The receipts and failures of the run folder ``root``; ``state`` is where they lie."""

    def __init__(self, root: Path, state: Path, runner: str) -> None:
        self._root = root
        self._state = state
        self._runner = runner

    def path(self, task_id: str) -> Path:
        """Where the receipt of a task lies."""
        return self._state / "receipts" / task_id[:2] / f"{task_id}.json"

    def scan(self) -> Scan:
        """Every valid receipt and failure. What is damaged or foreign is not there."""
        with without_gc():
            paths = (self._state / "receipts").glob("[0-9a-f]?/[0-9a-f]*.json")
            receipts = {found.task.id: found for path in paths if (found := self._read(path)) is not None}
        failures = {key: failure for key, failure in self.failures().items() if key not in receipts}
        known = receipts.keys() | failures.keys()
        skipped = {key: why for key, why in measured.skipped(self._state).items() if key not in known}
        return Scan(receipts, failures, skipped)

    def find(self, task_id: str) -> Receipt | None:
        """The receipt of one task, if it is done."""
        return self._read(self.path(task_id))

    def _read(self, path: Path) -> Receipt | None:
        try:
            receipt = files.read(Receipt, path)
            size = os.stat(f"{self._root}/{receipt.file.path}").st_size  # noqa: PTH116 - a third of pathlib's time
        except files.UNREADABLE:
            return None
        return receipt if receipt.task.id == path.stem and size == receipt.file.bytes else None

    def inspect(self) -> Inspection:
        """Every receipt, without a look at the files they name."""
        receipts, damaged = {}, {}
        for path in sorted((self._state / "receipts").rglob("[!.]*.json")):
            try:
                receipt = files.read(Receipt, path)
            except files.UNREADABLE as error:
                why = str(error) if type(error) is ValueError else type(error).__name__
                damaged[path] = f"it cannot be read ({why})"
                continue
            if receipt.task.id != path.stem:
                damaged[path] = f"it is the receipt of another image ({receipt.task.id})"
            elif not _inside(receipt.file.path):
                damaged[path] = f"it names a file outside of the run folder ({receipt.file.path})"
            else:
                receipts[path.stem] = receipt
        return Inspection(receipts, damaged)

    def commit(self, receipt: Receipt) -> None:
        """Write the receipt: from here on the image is done."""
        files.write(self.path(receipt.task.id), to_json(receipt), self._runner)
        with suppress(FileNotFoundError):
            self._failure_path(receipt.task.id).unlink()

    def failures(self) -> dict[str, Failure]:
        """The last failure of every task that has one, also where a receipt came later."""
        failures = {}
        for path in self._failure_paths():
            with suppress(*files.UNREADABLE):
                failure = files.read(Failure, path)
                if failure.task.id == path.stem:
                    failures[path.stem] = failure
        return failures

    def fail(self, failure: Failure) -> None:
        """Record a failed attempt; on a full disk it goes unrecorded, and its outcome alone carries it."""
        with suppress(OSError):
            files.write(self._failure_path(failure.task.id), to_json(failure), self._runner)

    def forget_failures(self, keep: Callable[[Failure], bool]) -> None:
        """Start the count of attempts anew, save for those that ``keep`` says."""
        kept = {key for key, failure in self.failures().items() if keep(failure)}
        for path in self._failure_paths():
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def _failure_path(self, task_id: str) -> Path:
        return self._state / "failures" / f"{task_id}.json"

    def _failure_paths(self) -> Iterator[Path]:
        return (self._state / "failures").glob("[0-9a-f]*.json")


def _inside(path: str) -> bool:
    """Whether a receipt's path stays below the run folder, on any system."""
    parts = PurePosixPath(path)
    return bool(parts.parts) and not (
        parts.is_absolute() or ".." in parts.parts or PureWindowsPath(path).anchor or "\\" in path
    )
