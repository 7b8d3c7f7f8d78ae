"""results.csv: one row per task, the failed and the missing ones too."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.records.receipts import Failure, Receipt
from batch.records.tasks import hub_name
from batch.records.values import Scalar
from batch.report.timing import mib

if TYPE_CHECKING:
    import pandas as pd

    from batch.report.images import ReportedImage
    from batch.store.folder import RunFolder

TEXT, WHOLE, NUMBER, FLAG = "string", "Int64", "Float64", "boolean"

COLUMNS: dict[str, str] = {
    "task_id": TEXT, "picture_id": TEXT, "status": TEXT, "attempts": WHOLE, "file": TEXT, "model": TEXT,
    "revision": TEXT, "dtype": TEXT, "prompt": TEXT, "prompt_template": TEXT, "negative_prompt": TEXT,
    "style": TEXT, "seed": "UInt64", "width": WHOLE, "height": WHOLE, "rendered_width": WHOLE,
    "rendered_height": WHOLE, "steps": WHOLE, "guidance": NUMBER, "scheduler": TEXT, "vae": TEXT,
    "lora": TEXT, "extra": TEXT, "prompt_tokens": WHOLE, "prompt_cut": WHOLE, "memory": TEXT,
    "degraded_from": TEXT, "batch": WHOLE, "compile": TEXT, "repeat": WHOLE, "warmup": FLAG, "load_s": NUMBER,
    "encode_s": NUMBER, "denoise_s": NUMBER, "decode_s": NUMBER, "save_s": NUMBER, "between_s": NUMBER,
    "total_s": NUMBER,
    "peak_allocated_mib": NUMBER, "peak_reserved_mib": NUMBER, "peak_device_mib": NUMBER,
    "peak_rss_mib": NUMBER, "encode_peak_mib": NUMBER, "denoise_peak_mib": NUMBER, "decode_peak_mib": NUMBER,
    "memory_source": TEXT, "failed_stage": TEXT, "requested_mib": NUMBER, "energy_j": NUMBER,
    "file_bytes": WHOLE, "sha256": TEXT, "pixels_sha256": TEXT, "touched": TEXT, "device": TEXT,
    "device_memory_mib": NUMBER, "gpu": TEXT, "host": TEXT, "vram_limit_mib": NUMBER, "driver": TEXT,
    "torch": TEXT, "diffusers": TEXT,
    "started_at": TEXT, "error": TEXT,
}  # fmt: skip
"""Every column in order, with the pandas type it has."""

Row = Mapping[str, Scalar]
"""An image by :data:`COLUMNS`; what is not known is None or left out."""

_FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""What a spreadsheet runs begins so, some of it behind what it takes for blanks."""


def read(path: Path) -> pd.DataFrame:
    """Read a results.csv with the right types (ids stay text, empty is missing)."""
    import pandas as pd

    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={
        name: [""] for name, kind in COLUMNS.items() if kind != TEXT
    })  # fmt: skip


def write(folder: RunFolder, lines: Iterable[bytes]) -> tuple[Path, str]:
    """Write results.csv of what :func:`line` makes; returns its path and a warning, if there is one.

    On Windows a results.csv that is open in Excel cannot be replaced: results-1.csv is written instead.
    """
    data = as_file(lines)
    path = folder.root / "results.csv"
    try:
        atomic.write(path, data, folder.runner)
    except PermissionError:
        other = folder.root / "results-1.csv"
        atomic.write(other, data, folder.runner)
        return other, f"{path} is open in another program; the table is in {other}"
    return path, ""


def as_file(lines: Iterable[bytes]) -> bytes:
    """What results.csv holds: the names of its columns, and lines of :func:`line`."""
    return _marked(b"".join([",".join(COLUMNS).encode() + b"\n", *lines]))


def line(row: Row) -> bytes:
    """A row as a line of results.csv, with its line end."""
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(
        _cell(_typed(row.get(name), kind)) for name, kind in COLUMNS.items()
    )
    return buffer.getvalue().encode("utf-8", "backslashreplace")


_BOUNDS = {WHOLE: (-(2**63), 2**63 - 1), "UInt64": (0, 2**64 - 1)}


def _typed(value: Scalar, kind: str) -> Scalar:
    """A value as its column has it; None for a number that no run has: one of somebody else's files."""
    if kind == NUMBER and isinstance(value, int):
        return float(value)
    if kind in _BOUNDS and isinstance(value, int):
        low, high = _BOUNDS[kind]
        return value if low <= value <= high else None
    return value


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
        "prompt": task.prompt,
        "prompt_template": task.prompt_template,
        "negative_prompt": task.negative_prompt,
        "style": task.style,
        "seed": task.seed,
        "width": task.width,
        "height": task.height,
        "rendered_width": task.rendered_width,
        "rendered_height": task.rendered_height,
        "steps": task.steps,
        "guidance": task.guidance,
        "scheduler": setting.scheduler,
        "vae": task.vae.written if task.vae else "",
        "lora": " + ".join(  # as a manifest writes it
            f"{hub_name(lora.source) or lora.place}(scale={lora.scale:g})" for lora in task.loras
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
        found["width"], found["height"] = image.touched.size or (task.width, task.height)
    return found


def _record(record: Receipt | Failure) -> dict[str, Scalar]:
    machine = record.machine
    found: dict[str, Scalar] = {
        "batch": record.batch,
        "started_at": record.started_at,
        "memory_source": record.measurement.memory_source,
        "device": machine.device,
        "device_memory_mib": mib(machine.device_memory),
        "gpu": machine.gpu,
        "host": machine.host,
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
            "prompt_tokens": record.texts[0].tokens if record.texts else None,
            "prompt_cut": record.texts[0].cut if record.texts else None,
        }
    return found | {
        "failed_stage": record.error.stage,
        "requested_mib": mib(record.error.requested),
        "error": str(record.error),
    }


def as_csv(frame: pd.DataFrame) -> bytes:
    """A table as a CSV file: texts of others are in it, so none begins as a formula, or ends its line.

    Where it is not ASCII a byte order mark stands first, without which Excel takes it for another encoding.
    """
    frame = frame.copy(deep=False)
    for name in frame.select_dtypes(["object", "string"]).columns:
        frame[name] = frame[name].map(_cell)
    return _marked(frame.to_csv(index=False, lineterminator="\n").encode("utf-8", "backslashreplace"))


def _marked(data: bytes) -> bytes:
    return data if data.isascii() else codecs.BOM_UTF8 + data


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # which alone would not be quoted
    return f"'{text}" if text.startswith(_FORMULA) else text
