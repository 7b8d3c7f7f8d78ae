"""Every image against its receipt. Reads only, takes no lock, holds one image in memory at a time.

The states, each file and each task in exactly one:

========== ===== =======================================================================================
done             receipt valid, file there, size and sha256 as written, and it decodes to the size recorded
extra            as done, or without its file, but the last manifest does not name it any more
missing    wrong the manifest names it: never rendered, or the receipt is there and its file is gone
failed     wrong the manifest names it, and its last attempt failed
truncated  wrong the file is shorter than its receipt says, or its bytes are no whole picture
modified   wrong the file is as long as its receipt says or longer, with another sha256
damaged    wrong a receipt that cannot be read, or is another image's
orphaned   wrong an image file in images/ that no receipt names
unfit            of a measurement: it ran out of memory, which is its result
skipped          of a measurement: not tried, since one no larger did not fit
========== ===== =======================================================================================
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from batch.records.receipts import Receipt
from batch.records.tasks import Task
from batch.store import lock, measured
from batch.store.folder import RunFolder
from batch.store.images.reading import read_pixels
from batch.store.pictures import image_path

if TYPE_CHECKING:
    from batch.store.receipts import Inspection


class State(StrEnum):
    """What one file or one task was found to be, see above."""

    DONE = "done"
    MISSING = "missing"
    FAILED = "failed"
    TRUNCATED = "truncated"
    MODIFIED = "modified"
    DAMAGED = "damaged"
    ORPHANED = "orphaned"
    EXTRA = "extra"
    UNFIT = "unfit"
    SKIPPED = "skipped"

    @property
    def wrong(self) -> bool:
        """Whether a run folder with one of these is not as it should be."""
        return self not in {State.DONE, State.EXTRA, State.UNFIT, State.SKIPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found for one task or one file."""

    state: State
    task_id: str = ""
    path: str = ""
    """Of the file, there or not, relative to the run folder; the image's name where a task made none."""
    bytes: int = 0
    """Of the file, as far as it was read."""
    detail: str = ""
    """For people."""
    never_rendered: bool = False
    """No run has come to the task yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The state of every image of a run folder."""

    name: str
    total: int
    """Images that the last manifest names."""
    findings: tuple[Finding, ...]
    running: Mapping[str, object] | None

    @property
    def counts(self) -> dict[State, int]:
        """How many findings there are of each state that occurs."""
        return dict(Counter(item.state for item in self.findings))

    @property
    def ok(self) -> bool:
        """Whether everything that the manifest names is there, whole, and nothing unexplained lies beside it."""
        return not any(item.state.wrong for item in self.findings)

    @property
    def bytes_read(self) -> int:
        """How much of the images was read and hashed."""
        return sum(item.bytes for item in self.findings)

    @property
    def done(self) -> tuple[str, ...]:
        """The ids of the tasks that are done."""
        return tuple(item.task_id for item in self.findings if item.state is State.DONE)


def verify(root: Path, advance: Callable[[int, int], None]) -> Verification:
    """Check a run folder; ``advance`` is told how many of how many images are checked.

    Raises :class:`~batch.base.errors.UserError` when ``root`` is no run folder.
    """
    folder = RunFolder(root)
    folder.require()
    running = lock.holder(folder.state)
    files = list(folder.image_files())  # before the receipts: what is committed meanwhile is no orphan
    tasks = {task.id: task for task in folder.tasks()}
    inspection = folder.inspect()
    findings: list[Finding] = []
    for number, receipt in enumerate(inspection.receipts.values(), start=1):
        findings.append(_check(folder, receipt, planned=receipt.task.id in tasks))
        advance(number, len(inspection.receipts))
    findings += _without_receipt(folder, inspection, tasks)
    findings += (
        Finding(state=State.ORPHANED, path=path.relative_to(folder.root).as_posix(), detail="no receipt names it")
        for path in orphans(folder, files, inspection, tasks.values(), saving=running is not None)
    )
    return Verification(name=folder.name(), total=len(tasks), findings=tuple(findings), running=running)


def _check(folder: RunFolder, receipt: Receipt, *, planned: bool) -> Finding:
    path, file, hashed = folder.root / receipt.file.path, receipt.file, 0

    def found(state: State, detail: str = "") -> Finding:
        return Finding(state=state, task_id=receipt.task.id, path=file.path, bytes=hashed, detail=detail)

    try:
        size, digest = path.stat().st_size, ""
        if size >= file.bytes:
            with path.open("rb") as data:
                digest = hashlib.file_digest(data, "sha256").hexdigest()
            hashed = size
    except FileNotFoundError:
        return found(State.MISSING if planned else State.EXTRA, "the receipt is there, its file is gone")
    except OSError as error:
        return found(State.TRUNCATED, f"it cannot be read: {error.strerror or error}")
    if size < file.bytes:
        return found(State.TRUNCATED, f"{size:,} of {file.bytes:,} bytes are there")
    if digest != file.sha256:
        how = "as long as written" if size == file.bytes else f"{size - file.bytes:,} bytes longer than written"
        return found(State.MODIFIED, f"{how}, with other content")
    try:
        height, width = read_pixels(path).shape[:2]
    except (OSError, ValueError) as error:
        return found(
            State.TRUNCATED, f"the bytes are those that were saved, but they are no whole picture: {error}"
        )
    if (width, height) != (file.width, file.height):
        return found(State.TRUNCATED, f"it has {width}x{height} pixels, not {file.width}x{file.height}")
    return found(State.DONE if planned else State.EXTRA)


def _without_receipt(folder: RunFolder, inspection: Inspection, tasks: Mapping[str, Task]) -> Iterator[Finding]:
    """Receipts that vouch for nothing, and the tasks that have none."""
    damaged: set[str] = set()
    for path, why in inspection.damaged.items():
        task_id = ""
        if path == folder.receipt_path(path.stem):
            damaged.add(path.stem)
            task_id = path.stem if path.stem in tasks else ""
        place = path.relative_to(folder.root).as_posix()
        yield Finding(state=State.DAMAGED, task_id=task_id, path=place, detail=why)
    if not tasks:
        detail = "it is gone or empty: what the manifest names is not known; run the manifest again"
        yield Finding(state=State.DAMAGED, path=".run/tasks.jsonl", detail=detail)
    failures, skipped = folder.failures(), measured.skipped(folder.state)
    for task in tasks.values():
        if task.id in inspection.receipts or task.id in damaged:
            continue
        failure = failures.get(task.id)
        if failure is not None:
            state = State.UNFIT if failure.is_result else State.FAILED
            detail = f"{failure.error.stage}: {failure.error}"
            yield Finding(state=state, task_id=task.id, path=task.name, detail=detail)
        elif task.id in skipped:
            yield Finding(state=State.SKIPPED, task_id=task.id, path=task.name, detail=skipped[task.id])
        else:
            yield Finding(
                state=State.MISSING,
                task_id=task.id,
                path=image_path(task),
                detail="never rendered",
                never_rendered=True,
            )


def orphans(
    folder: RunFolder,
    files: Iterable[Path],
    inspection: Inspection,
    tasks: Iterable[Task],
    *,
    saving: bool,
) -> list[Path]:
    """Image files that no receipt names.

    Left out are the images of damaged receipts (that damage is said already, and a rerun writes over
    them) and, while a runner is ``saving``, those whose receipt may be on its way.
    """
    damaged = {path.stem for path in inspection.damaged}
    known = {receipt.file.path for receipt in inspection.receipts.values()}
    known |= {image_path(task) for task in tasks if saving or task.id in damaged}
    # Some file systems of macOS give names back decomposed.
    composed = {unicodedata.normalize("NFC", name) for name in known}
    return [
        path
        for path in files
        if unicodedata.normalize("NFC", path.relative_to(folder.root).as_posix()) not in composed
    ]
