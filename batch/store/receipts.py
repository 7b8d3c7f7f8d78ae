"""Receipts and failures: which images of a run folder are done, and how the others failed last.

An image is done when its receipt is there and its picture is: the file that the receipt names, as it was
written, or wherever and however somebody left it (:mod:`batch.store.touched`). Nothing else decides: no order in
a directory, no log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import regular, walk
from batch.base.collector import without_gc
from batch.records.reading import to_json
from batch.records.receipts import Failure, FileRef, Receipt
from batch.records.tasks import Task
from batch.store import files, inside, measured, touched, unnamed
from batch.store.images.looks import Looks
from batch.store.losses import is_torn
from batch.store.touched import Settled

if TYPE_CHECKING:
    from batch.store.losses import Lost, PictureLoss
    from batch.store.touched import Touched
    from batch.store.unnamed import Unnamed


@dataclass(frozen=True, slots=True)
class Scan:
    """What a run folder holds: valid receipts and the last failures, by task id."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    touched: Mapping[str, Touched] = field(default_factory=dict)
    """What somebody did to pictures that are done; ``file.path`` of their receipts is where they lie now."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """Receipts whose pictures are not there any more: these are rendered again."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Of a measurement: why tasks are not tried."""
    unreadable: frozenset[str] = frozenset()
    """Ids whose receipts are damaged, or another image's."""

    def count(self, how: PictureLoss, planned: Collection[str]) -> int:
        """Of some tasks those whose pictures were lost so."""
        return sum(key in planned and item.how is how for key, item in self.lost.items())


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
        whole: dict[str, Receipt] = {}
        suspects: dict[str, Receipt] = {}
        unreadable = set()
        looks = Looks(self._root, self._state, self._runner)
        with without_gc():
            for path in (self._state / "receipts").glob("[0-9a-f]?/[0-9a-f]*.json"):
                if (receipt := self._read(path)) is None:
                    unreadable.add(path.stem)
                else:
                    (whole if self._as_written(receipt, looks) else suspects)[receipt.task.id] = receipt
        claimed = [receipt.file.path for receipt in whole.values()]
        settled = touched.settle(suspects, claimed, self._root / "images", looks) if suspects else Settled()
        looks.keep()
        receipts = {**whole, **settled.receipts}
        failures = {key: failure for key, failure in self.failures().items() if key not in receipts}
        known = receipts.keys() | failures.keys()
        skipped = {key: why for key, why in measured.skipped(self._state).items() if key not in known}
        return Scan(
            receipts=receipts,
            failures=failures,
            touched=settled.touched,
            lost=settled.lost,
            skipped=skipped,
            unreadable=frozenset(unreadable),
        )

    def find(self, task_id: str) -> Receipt | None:
        """The receipt of one task, if it is done."""
        receipt = self._read(self.path(task_id))
        if receipt is None or self._as_written(receipt, Looks(self._root, self._state, self._runner)):
            return receipt
        return self.scan().receipts.get(task_id)  # where it lies now depends on the others

    def _read(self, path: Path) -> Receipt | None:
        """A receipt, whatever became of its file."""
        try:
            receipt = files.read(Receipt, path)
        except files.UNREADABLE:
            return None
        return receipt if receipt.task.id == path.stem and inside.is_below_images(receipt.file.path) else None

    def _as_written(self, receipt: Receipt, looks: Looks) -> bool:
        """Whether its file has the size and time noted, and nobody who read it saw other bytes."""
        try:
            file = receipt.file
            return self._is_there(file) and looks.noted(file.path) in ("", file.sha256)
        except (OSError, ValueError):
            return False

    def _is_there(self, file: FileRef) -> bool:
        with suppress(OSError):
            if touched.is_as_written(self._root, file):
                return True
        # What a client of NFS remembers of a file that another host has written: opened, it asks.
        with regular.opened(self._root / file.path):
            return touched.is_as_written(self._root, file)

    def inspect(self) -> Inspection:
        """Every receipt, without a look at the files they name."""
        receipts, damaged = {}, {}
        for path in walk.files_below(self._state / "receipts", hidden=False):
            if path.suffix != ".json":
                continue
            try:
                receipt = files.read(Receipt, path)
            except files.UNREADABLE as error:
                why = str(error) if type(error) is ValueError else type(error).__name__
                damaged[path] = f"it cannot be read ({why})"
                continue
            if receipt.task.id != path.stem:
                damaged[path] = f"it is the receipt of another image ({receipt.task.id})"
            elif not inside.is_below_images(receipt.file.path):
                damaged[path] = f"it names a file outside of images/ ({receipt.file.path})"
            else:
                receipts[path.stem] = receipt
        return Inspection(receipts, damaged)

    def unnamed(self, files: Iterable[Path], scan: Scan, tasks: Collection[Task], *, saving: bool) -> Unnamed:
        """What the image files are that no receipt names: see :func:`batch.store.unnamed.sort_out`."""
        looks = Looks(self._root, self._state, self._runner)
        known = [receipt.file.path for receipt in scan.receipts.values()]
        known += [lost.path for lost in scan.lost.values()]
        pending = [task for task in tasks if saving or task.id in scan.unreadable]
        paths = unnamed.paths(files, self._root, known, pending)
        found = unnamed.sort_out(paths, scan.receipts.values(), {task.id for task in tasks}, looks)
        looks.keep()
        return found

    def vouches_for(self, task_id: str, path: str) -> bool:
        """Whether the receipt of a task names that file, and the file is as it was written."""
        receipt = self._read(self.path(task_id))
        if receipt is None or receipt.file.path != path:
            return False
        return self._as_written(receipt, Looks(self._root, self._state, self._runner))

    def commit(self, receipt: Receipt) -> str:
        """Write the receipt: from here on the image is done.

        Returns where what is left of its picture before lies, torn and under another name than now; else "".
        """
        left = self._torn_before(receipt)
        files.write(self.path(receipt.task.id), to_json(receipt), self._runner)
        with suppress(FileNotFoundError):
            self._failure_path(receipt.task.id).unlink()
        return left

    def _torn_before(self, receipt: Receipt) -> str:
        before = self._read(self.path(receipt.task.id))
        if before is None or before.file.path == receipt.file.path:
            return ""
        seen = Looks(self._root, self._state, self._runner).at(before.file.path)
        return before.file.path if seen is not None and is_torn(seen, before) else ""

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
