"""results.csv: one row per task, the failed and the missing ones too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from batch.base import atomic
from batch.records.receipts import Failure, Receipt
from batch.records.values import Scalar
from batch.report.timing import mib

if TYPE_CHECKING:
    from batch.report.images import ReportedImage
    from batch.store.folder import RunFolder

TEXT, WHOLE, NUMBER, FLAG = "string", "Int64", "Float64", "boolean"

COLUMNS: dict[str, str] = {
    "task_id": TEXT, "picture_id": TEXT, "status": TEXT, "attempts": WHOLE, "file": TEXT, "model": TEXT,
    "revision": TEXT, "dtype": TEXT, "prompt": TEXT, "negative_prompt": TEXT, "seed": "UInt64", "width": WHOLE,
    "height": WHOLE, "rendered_width": WHOLE, "rendered_height": WHOLE, "steps": WHOLE, "guidance": NUMBER,
    "scheduler": TEXT, "lora": TEXT, "extra": TEXT, "memory": TEXT, "degraded_from": TEXT, "batch": WHOLE,
    "compile": TEXT, "repeat": WHOLE, "warmup": FLAG, "load_s": NUMBER, "encode_s": NUMBER,
    "denoise_s": NUMBER, "decode_s": NUMBER, "save_s": NUMBER, "between_s": NUMBER, "total_s": NUMBER,
    "peak_allocated_mib": NUMBER, "peak_reserved_mib": NUMBER, "peak_device_mib": NUMBER,
    "peak_rss_mib": NUMBER, "encode_peak_mib": NUMBER, "denoise_peak_mib": NUMBER, "decode_peak_mib": NUMBER,
    "memory_source": TEXT, "failed_stage": TEXT, "requested_mib": NUMBER, "energy_j": NUMBER,
    "file_bytes": WHOLE, "sha256": TEXT, "pixels_sha256": TEXT, "touched": TEXT,
    "device": TEXT, "device_memory_mib": NUMBER, "vram_limit_mib": NUMBER,
    "driver": TEXT, "torch": TEXT, "diffusers": TEXT, "started_at": TEXT, "error": TEXT,
}  # fmt: skip
"""Every column in order, with the pandas type it has."""

Row = Mapping[str, Scalar]
"""An image by :data:`COLUMNS`; what is not known is None or left out."""

_FORMULA = ("=", "+", "-", "@")


def read(path: Path) -> pd.DataFrame:
    """Read a results.csv with the right types (ids stay text, empty is missing)."""
    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={
        name: [""] for name, kind in COLUMNS.items() if kind != TEXT
    })  # fmt: skip


def write(folder: RunFolder, rows: Sequence[Row]) -> tuple[Path, str]:
    """Write results.csv, a line per row in the order given; returns its path and a warning, if there is one.

    On Windows a results.csv that is open in Excel cannot be replaced: results-1.csv is written instead.
    """
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    data = frame.to_csv(index=False, lineterminator="\n").encode()
    path = folder.root / "results.csv"
    try:
        atomic.write(path, data, folder.runner)
    except PermissionError:
        other = folder.root / "results-1.csv"
        atomic.write(other, data, folder.runner)
        return other, f"{path} is open in another program; the table is in {other}"
    return path, ""


def row(image: ReportedImage) -> Row:
    """An image as results.csv has it."""
    task, setting = image.task, image.setting
    found: dict[str, Scalar] = {
        "task_id": task.id,
        "picture_id": task.picture_id,
        "status": image.status.value,
        "attempts": image.record.attempts if image.record else 0,
        "model": task.model,
        "revision": task.revision,
        "dtype": task.dtype,
        "prompt": _safe(task.prompt),
        "negative_prompt": _safe(task.negative_prompt),
        "seed": task.seed,
        "width": task.width,
        "height": task.height,
        "rendered_width": task.rendered_width,
        "rendered_height": task.rendered_height,
        "steps": task.steps,
        "guidance": task.guidance,
        "scheduler": setting.scheduler,
        "lora": " + ".join(  # as a manifest writes it
            f"{lora.place}{f'@{lora.commit}' if lora.commit else ''}(scale={lora.scale:g})" for lora in task.loras
        ),
        "extra": setting.extra,
        "memory": setting.memory_used,
        "repeat": task.repeat,
        "warmup": task.warmup or None,
        "error": image.skipped,
    }
    if image.record and image.costs:
        found |= image.costs.columns() | _record(image.record)
    if image.touched:
        found["touched"] = str(image.touched)
    return found


def _record(record: Receipt | Failure) -> dict[str, Scalar]:
    machine = record.machine
    found: dict[str, Scalar] = {
        "batch": record.batch,
        "started_at": record.started_at,
        "memory_source": record.measurement.memory_source,
        "device": machine.device,
        "device_memory_mib": mib(machine.device_memory),
        "vram_limit_mib": mib(machine.vram_limit),
        "driver": machine.driver,
        "torch": machine.torch,
        "diffusers": machine.diffusers,
    }
    if isinstance(record, Receipt):
        return found | {
            "file": record.file.path,
            "file_bytes": record.file.bytes,
            "sha256": record.file.sha256,
            "pixels_sha256": record.file.pixels_sha256,
            "degraded_from": record.degraded_from,
            "compile": "on" if record.compile else "off",
        }
    return found | {
        "failed_stage": record.error.stage,
        "requested_mib": mib(record.error.requested),
        "error": _safe(str(record.error)),
    }


def _safe(text: str) -> str:
    """A spreadsheet would run a text that begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
