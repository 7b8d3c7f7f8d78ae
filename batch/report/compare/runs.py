"""The runs of a comparison, read, and how far their plans name the same pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import UserError
from batch.records.receipts import Failure, Receipt
from batch.report.images import loras_of, reported
from batch.report.order import place_by
from batch.store.folder import RunFolder

if TYPE_CHECKING:
    from batch.report.images import ReportedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, read."""

    label: str
    root: Path
    kind: str
    images: Sequence[ReportedImage]
    order: Mapping[str, Sequence[str]]
    """The manifest's, of :func:`batch.report.order.place_by`."""

    def pictures(self) -> set[str]:
        """What the run's plan names, whatever the memory setting."""
        return {image.task.picture_id for image in self.images}

    def as_read(self) -> list[ReportedImage]:
        """The images in the manifest's order."""
        place = place_by(self.order)
        return sorted(self.images, key=lambda image: place(image.task))

    def receipts(self) -> list[Receipt]:
        """Of what is done and still named, in order."""
        return [image.receipt for image in self.images if image.receipt]

    def records(self) -> list[Receipt | Failure]:
        """The same with what failed."""
        return [image.record for image in self.images if image.record]

    def first_done(self) -> dict[str, Receipt]:
        """Of each picture the one that is done first in the order of the plan, by ``picture_id``."""
        return {item.task.picture_id: item for item in reversed(self.receipts())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Pictures that a run's plan shares with the first one's."""

    run: str
    common: int
    only_first: int
    only_this: int


def read_runs(roots: Sequence[Path]) -> list[Run]:
    """Read run folders. Raises :class:`UserError` for one that is none, or is named twice."""
    if len({root.resolve() for root in roots}) < len(roots):
        raise UserError("the same run folder is named twice")
    folders = [RunFolder(root) for root in roots]
    for folder in folders:
        folder.require()
    plans = [folder.tasks() for folder in folders]
    loras = loras_of(task for tasks in plans for task in tasks)
    names = [root.resolve().name for root in roots]
    return [
        Run(
            label=name if names.count(name) == 1 else str(folder.root),
            root=folder.root,
            kind=folder.kind(),
            images=reported(tasks, folder.scan(), loras),
            order=folder.origin().order,
        )
        for name, folder, tasks in zip(names, folders, plans, strict=True)
    ]


def overlap(first: Run, other: Run) -> Overlap:
    """Count what two plans have in common."""
    ours, theirs = first.pictures(), other.pictures()
    return Overlap(
        run=other.label, common=len(ours & theirs), only_first=len(ours - theirs), only_this=len(theirs - ours)
    )
