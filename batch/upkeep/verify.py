"""Every image against its receipt. Takes no lock, holds one image in memory at a time.

Nothing is written, save for which files are damaged: a run trusts those of the size and time noted.

The states, each file and each task in exactly one:

========== ===== =======================================================================================
done             receipt valid, file there, sha256 as written, and it decodes to the size recorded
changed          the picture, with other content: other metadata, or pixels under its own ``run_batch`` text
moved            the picture, changed or not, elsewhere below images/
copy             a further file of a picture that is there
extra            a picture that is there, or a receipt without one, that the last manifest does not name any more
missing    wrong the manifest names it: never rendered, or the receipt is there and its file is gone
failed     wrong the manifest names it, and its last attempt failed
damaged    wrong a picture that does not decode, or a receipt that cannot be read or is another image's
replaced         a whole picture lies in its place of which nothing says that it is this one: somebody put it there
orphaned   wrong an image file in images/ of no receipt
unfit            of a measurement: it ran out of memory, which is its result
skipped          of a measurement: not tried, since one no larger did not fit
========== ===== =======================================================================================
"""

from __future__ import annotations

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
from batch.store.images.looks import Looks
from batch.store.pictures import image_path
from batch.store.touched import Change, originals, settle, untaken

if TYPE_CHECKING:
    from batch.store.receipts import Inspection
    from batch.store.touched import Settled


class State(StrEnum):
    """What one file or one task was found to be, see above."""

    DONE = "done"
    MISSING = "missing"
    FAILED = "failed"
    DAMAGED = "damaged"
    REPLACED = "replaced"
    CHANGED = "changed"
    MOVED = "moved"
    COPY = "copy"
    ORPHANED = "orphaned"
    EXTRA = "extra"
    UNFIT = "unfit"
    SKIPPED = "skipped"

    @property
    def wrong(self) -> bool:
        """Whether a run folder with one of these is not as it should be."""
        return self in {State.MISSING, State.FAILED, State.DAMAGED, State.ORPHANED}

    @property
    def is_there(self) -> bool:
        """Whether that is a finished picture that the manifest names."""
        return self in {State.DONE, State.CHANGED, State.MOVED, State.REPLACED}


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
        """The ids of the tasks that are done, and whose files nobody touched."""
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
    looks = Looks(folder.root, folder.state, folder.runner, fresh=True)
    for number, receipt in enumerate(inspection.receipts.values(), start=1):
        looks.at(receipt.file.path)
        advance(number, len(inspection.receipts))
    settled = settle(inspection.receipts, (), folder.images, looks)
    looks.keep([inspection.receipts[key].file.path for key, lost in settled.lost.items() if lost.torn])
    findings = [_judged(key, item, settled, looks, tasks) for key, item in inspection.receipts.items()]
    findings += _without_receipt(folder, inspection, tasks)
    findings += _unnamed(folder, files, inspection, settled, looks, tasks, saving=running is not None)
    return Verification(name=folder.name(), total=len(tasks), findings=tuple(findings), running=running)


def _judged(key: str, receipt: Receipt, settled: Settled, looks: Looks, tasks: Mapping[str, Task]) -> Finding:
    """What became of the file of one receipt."""
    now = settled.receipts.get(key, receipt).file.path
    seen = looks.at(now)

    def found(state: State, detail: str = "") -> Finding:
        state = State.EXTRA if key not in tasks and not state.wrong else state
        return Finding(state=state, task_id=key, path=now, bytes=seen.bytes if seen else 0, detail=detail)

    if (lost := settled.lost.get(key)) is not None:
        gone = State.MISSING if key in tasks else State.EXTRA
        return found(
            State.DAMAGED if lost.torn else gone, lost.why if lost.torn else f"the receipt is there, {lost.why}"
        )
    touched = settled.touched.get(key)
    if touched is None:
        return found(State.DONE)
    if touched.change is Change.REPLACED:
        return found(State.REPLACED, touched.change)
    if touched.moved:
        return found(
            State.MOVED, f"it was {receipt.file.path}" + (f"; {touched.change}" if touched.change else "")
        )
    return found(State.CHANGED, touched.change)


def _unnamed(
    folder: RunFolder,
    files: Iterable[Path],
    inspection: Inspection,
    settled: Settled,
    looks: Looks,
    tasks: Mapping[str, Task],
    *,
    saving: bool,
) -> Iterator[Finding]:
    """Image files that are of no receipt, or copies of one's picture."""
    paths = unnamed(folder, files, inspection, settled.receipts, tasks.values(), saving=saving)
    copies = originals(paths, settled.receipts.values(), looks)
    for path in paths:
        if (seen := looks.at(path)) is not None and path in copies:
            detail = f"of {copies[path].file.path}"
            yield Finding(state=State.COPY, path=path, bytes=seen.bytes, detail=detail)
        else:
            yield Finding(state=State.ORPHANED, path=path, detail="no receipt names it")


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


def unnamed(
    folder: RunFolder,
    files: Iterable[Path],
    inspection: Inspection,
    found: Mapping[str, Receipt],
    tasks: Iterable[Task],
    *,
    saving: bool,
) -> list[str]:
    """Image files that are of no receipt, as paths relative to the run folder.

    ``found`` are receipts with the paths where their pictures lie now. Left out are the images of damaged receipts
    (that damage is said already, and a rerun moves them to the trash) and, while a runner is ``saving``, those
    whose receipt may be on its way.
    """
    damaged = {path.stem for path in inspection.damaged}
    known = {receipt.file.path for receipt in (*inspection.receipts.values(), *found.values())}
    known |= {image_path(task) for task in tasks if saving or task.id in damaged}
    return untaken(files, folder.root, known)
