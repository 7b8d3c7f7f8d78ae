"""What stands on top of a contact sheet: whose it is, how many images there are, and what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from batch.base.text import duration
from batch.records.receipts import Failure, Receipt
from batch.records.tasks import Task
from batch.report.status import ImageStatus, status_of

if TYPE_CHECKING:
    from batch.store.receipts import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The texts on top of a page."""

    name: str
    totals: str = ""
    shared: str = ""
    page: str = ""


def heading_of(name: str, tasks: Sequence[Task], shared: str, scan: Scan, number: int, pages: int) -> Heading:
    """What changes with every image stands on the first page alone, so that the others stay as they are."""
    if number > 1:
        return Heading(name=name, shared=shared, page=f"page {number}")
    page = f"page 1 of {pages}" if pages > 1 else ""
    return Heading(name=name, totals=totals(tasks, scan), shared=shared, page=page)


def totals(tasks: Sequence[Task], scan: Scan) -> str:
    """How many are done and failed, the time they took together, the median of an image, and the days."""
    counts = dict.fromkeys(ImageStatus, 0)
    for task in tasks:
        counts[status_of(task, scan)] += 1
    failed = counts[ImageStatus.FAILED] + counts[ImageStatus.INVALID]
    done = [receipt for task in tasks if (receipt := scan.receipts.get(task.id))]
    tried: list[Receipt | Failure] = [
        *done,
        *(failure for task in tasks if (failure := scan.failures.get(task.id))),
    ]
    parts = (
        f"{len(done)} of {len(tasks)} images",
        f"{failed} failed" if failed else "",
        f"{counts[ImageStatus.SKIPPED]} skipped" if counts[ImageStatus.SKIPPED] else "",
        *_times(done, tried),
        _days(tried),
    )
    return " · ".join(filter(None, parts))


def _times(done: Sequence[Receipt], tried: Sequence[Receipt | Failure]) -> tuple[str, ...]:
    """Images that warm up are slower than the others: they are in the sum, and not in the median."""
    costs = [record.measurement for record in tried]
    spent = sum(cost.total_s + (cost.load_s or 0.0) + (cost.between_s or 0.0) for cost in costs)
    timed = [item.measurement.total_s for item in done if not (item.measurement.warmup or item.task.warmup)]
    each = f"median {duration(median(timed))} an image" if timed and max(timed) > 0 else ""
    return f"images took {duration(spent)} together" if spent > 0 else "", each


def _days(tried: Sequence[Receipt | Failure]) -> str:
    days = sorted({record.started_at[:10] for record in tried if record.started_at})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
