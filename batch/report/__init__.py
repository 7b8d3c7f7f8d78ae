"""Receipts to what people read: the CSV and the contact sheet. Rebuilt from the run folder at any time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batch.report import sheet, table
from batch.store.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and what to tell the user about it."""

    csv: Path
    sheets: tuple[Path, ...]
    warnings: tuple[str, ...]


def write_report(folder: RunFolder) -> Report:
    """Write results.csv and the contact sheet of a run folder."""
    scan = folder.scan()
    tasks = folder.tasks()
    csv, warning = table.write(folder, tasks, scan)
    sheets = sheet.write(folder, tasks, scan)
    return Report(csv, tuple(sheets), (warning,) if warning else ())
