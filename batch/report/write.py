"""Receipts to what people read: CSV, contact sheet, HTML. Rebuilt from the run folder at any time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.report import html, sheet, table
from batch.report.images import reported

if TYPE_CHECKING:
    from batch.store.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and what to tell the user about it."""

    csv: Path
    sheets: tuple[Path, ...]
    html: Path
    warnings: tuple[str, ...]
    done: int
    """Images of the plan that are there."""


def write_report(folder: RunFolder) -> Report:
    """Write results.csv, the contact sheet and report.html of a run folder."""
    tasks, scan = folder.tasks(), folder.scan()
    images = reported(tasks, scan)
    rows = [table.row(image) for image in images]
    csv, warning = table.write(folder, rows)
    sheets = sheet.write(folder, tasks, scan)
    page = html.write(folder, images, rows, scan)
    done = sum(task.id in scan.receipts for task in tasks)
    return Report(csv, tuple(sheets), page, (warning,) if warning else (), done)
