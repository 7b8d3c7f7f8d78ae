"""Every image against its receipt. Takes no lock, holds one image in memory at a time.

Nothing is written, save for which files are damaged: a run trusts those of the size and time noted.

The states, each file and each task in exactly one:

========== ===== =======================================================================================
done             receipt valid, file there, sha256 as written, and it decodes to the size recorded
changed          the picture, with other bytes: other metadata, or pixels under its own ``run_batch`` text
moved            the picture, changed or not, elsewhere below images/
copy             a further file of a picture that is there, or a whole picture under its name: an export
extra            a picture that is there, or a receipt without one, that the last manifest does not name any more
missing    wrong the manifest names it: never rendered, or its file is gone, or another picture or a link is there
failed     wrong the manifest names it, and its last attempt failed
damaged    wrong a file that is no whole picture, or a receipt that cannot be read or is another image's
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
from batch.store import measured, unnamed
from batch.store.folder import RunFolder
from batch.store.images.looks import Looks, picture_of
from batch.store.losses import PictureLoss
from batch.store.pictures import image_path
from batch.store.touched import Change, Touched, settle
from batch.store.unnamed import not_looked_at

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
    own_pixels: bool = False
    """The picture is there with the pixels that were rendered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The state of every image of a run folder."""

    name: str
    total: int
    """Images that the last manifest names."""
    findings: tuple[Finding, ...]
    running: Mapping[str, object] | None
    not_looked_at: tuple[str, ...] = ()
    """Files with the name of an image that are hidden, or have a suffix that none has."""

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
    def done(self) -> int:
        """Images that the manifest names and that are there, touched or not, as ``status`` counts them."""
        return sum(item.state.is_there for item in self.findings)

    @property
    def own_pixels(self) -> dict[str, str]:
        """By task id, where those of them lie that have the pixels that were rendered."""
        return {item.task_id: item.path for item in self.findings if item.state.is_there and item.own_pixels}


def verify(root: Path, advance: Callable[[int, int], None]) -> Verification:
    """Check a run folder; ``advance`` is told how many of how many images are checked.

    Raises :class:`~batch.base.errors.UserError` when ``root`` is no run folder.
    """
    folder = RunFolder(root)
    folder.require()
    running = next((item.holder for item in folder.running()), None)
    files = list(folder.image_files())  # before the receipts: what is committed meanwhile is no orphan
    tasks = {task.id: task for task in folder.tasks()}
    inspection = folder.inspect()
    looks = Looks(folder.root, folder.state, folder.runner, fresh=True)
    for number, receipt in enumerate(inspection.receipts.values(), start=1):
        looks.at(receipt.file.path)
        advance(number, len(inspection.receipts))
    settled = settle(inspection.receipts, (), folder.images, looks)
    looks.keep([lost.path for lost in settled.lost.values()])
    findings = [_judged(key, item, settled, looks, tasks) for key, item in inspection.receipts.items()]
    findings += _without_receipt(folder, inspection, tasks)
    findings += _unnamed(folder, files, inspection, settled, looks, tasks, saving=running is not None)
    place = {key: number for number, key in enumerate(tasks)}
    return Verification(
        name=folder.name(),
        total=len(tasks),
        findings=tuple(sorted(findings, key=lambda item: place.get(item.task_id, len(tasks)))),
        running=running,
        not_looked_at=tuple(not_looked_at(folder.images, tasks.values())),
    )


def _judged(key: str, receipt: Receipt, settled: Settled, looks: Looks, tasks: Mapping[str, Task]) -> Finding:
    """What became of the file of one receipt."""
    now = settled.receipts.get(key, receipt).file.path
    seen = looks.at(now)

    touched = settled.touched.get(key, Touched())

    def found(state: State, detail: str = "") -> Finding:
        state = State.EXTRA if key not in tasks and not state.wrong else state
        return Finding(
            state=state,
            task_id=key,
            path=now,
            bytes=seen.bytes if seen else 0,
            detail=detail,
            own_pixels=not touched.shows,
        )

    if (lost := settled.lost.get(key)) is not None:
        if lost.how is PictureLoss.TORN:
            return found(State.DAMAGED, lost.why)
        why = f"the receipt is there, {lost.why}" if lost.how is PictureLoss.GONE else lost.why
        return found(State.MISSING if key in tasks else State.EXTRA, why)
    was = f"it was {receipt.file.path}" if now != receipt.file.path else ""
    detail = "; ".join(filter(None, (was, touched.change)))
    if touched.change is Change.REPLACED:
        return found(State.REPLACED, detail)
    if touched.moved:
        return found(State.MOVED, detail)
    return found(State.CHANGED, detail) if touched.change else found(State.DONE)


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
    """Image files that are of no receipt, copies of one's picture among them."""
    damaged = {path.stem for path in inspection.damaged}
    known = [receipt.file.path for receipt in settled.receipts.values()]
    known += [lost.path for lost in settled.lost.values()]
    pending = [task for task in tasks.values() if saving or task.id in damaged]
    paths = unnamed.paths(files, folder.root, known, pending)
    found = unnamed.sort_out(paths, settled.receipts.values(), tasks, looks)
    for path, receipt in found.copies.items():
        yield Finding(state=State.COPY, path=path, bytes=_read(path, looks), detail=_of(path, receipt, looks))
    for path, receipt in found.extra.items():
        yield Finding(state=State.EXTRA, path=path, bytes=_read(path, looks), detail=_of(path, receipt, looks))
    for path, why in found.orphans.items():
        yield Finding(state=State.ORPHANED, path=path, detail=why)


def _of(path: str, receipt: Receipt, looks: Looks) -> str:
    """What a copy is of. One that has stepped aside is under the name of a picture, and of another run."""
    seen = looks.at(path)
    other = seen is not None and seen.task_id not in ("", picture_of(receipt.task))
    return f"another picture, under the name of {receipt.file.path}" if other else f"of {receipt.file.path}"


def _read(path: str, looks: Looks) -> int:
    """How many bytes of a file were read."""
    seen = looks.at(path)
    return seen.bytes if seen else 0


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
