"""What became of each image of a run, in the words of results.csv."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from batch.records.kinds import ErrorKind
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.store.receipts import Scan


class ImageStatus(StrEnum):
    """The column ``status`` of results.csv.

    Of a failure for want of memory it is ``failed`` there. Whether that counts as one is asked of
    :attr:`batch.records.receipts.Failure.is_result`.
    """

    DONE = "done"
    FAILED = "failed"
    INVALID = "invalid"
    """It was rendered, and is no picture."""
    SKIPPED = "skipped"
    """Of a measurement: not tried, for a reason that is kept."""
    MISSING = "missing"

    @property
    def tried_in_vain(self) -> bool:
        """Whether it was tried and made no image."""
        return self in (ImageStatus.FAILED, ImageStatus.INVALID)


def status_of(task: Task, scan: Scan) -> ImageStatus:
    """What became of a task."""
    if task.id in scan.receipts:
        return ImageStatus.DONE
    if failure := scan.failures.get(task.id):
        return ImageStatus.INVALID if failure.error.kind == ErrorKind.INVALID else ImageStatus.FAILED
    return ImageStatus.SKIPPED if task.id in scan.skipped else ImageStatus.MISSING
