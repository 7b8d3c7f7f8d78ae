"""results.csv: one row per task, the failed and the missing ones too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from batch.base import atomic
from batch.records import (
    ErrorKind,
    Failure,
    Lora,
    Machine,
    Measurement,
    Receipt,
    StagePeak,
    Task,
)
from batch.store.folder import RunFolder
from batch.store.receipts import Scan

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
    "file_bytes": WHOLE, "sha256": TEXT, "device": TEXT, "device_memory_mib": NUMBER, "vram_limit_mib": NUMBER,
    "driver": TEXT, "torch": TEXT, "diffusers": TEXT, "started_at": TEXT, "error": TEXT,
}  # fmt: skip
"""Every column in order, with the pandas type it has."""

FAILED = ("failed", "invalid")
"""What ``status`` is of a task that was tried and made no image; ``invalid`` where it made a bad one."""

_FORMULA = ("=", "+", "-", "@")


def read(path: Path) -> pd.DataFrame:
    """Read a results.csv with the right types (ids stay text, empty is missing)."""
    return pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values={
        name: [""] for name, kind in COLUMNS.items() if kind != TEXT
    })  # fmt: skip


def frame(tasks: Sequence[Task], scan: Scan) -> pd.DataFrame:
    """The table: a row per task in the order given, the columns of :data:`COLUMNS`."""
    return pd.DataFrame([_row(task, scan) for task in tasks], columns=list(COLUMNS)).astype(COLUMNS)


def write(folder: RunFolder, rows: pd.DataFrame) -> tuple[Path, str]:
    """Write results.csv; returns its path and a warning, if there is one.

    On Windows a results.csv that is open in Excel cannot be replaced: results-1.csv is written instead.
    """
    data = rows.to_csv(index=False, lineterminator="\n").encode()
    path = folder.root / "results.csv"
    try:
        atomic.write(path, data, folder.runner)
    except PermissionError:
        other = folder.root / "results-1.csv"
        atomic.write(other, data, folder.runner)
        return other, f"{path} is open in another program; the table is in {other}"
    return path, ""


def _row(task: Task, scan: Scan) -> dict[str, Any]:
    receipt, failure = scan.receipts.get(task.id), scan.failures.get(task.id)
    row = _task_columns(task)
    if receipt is not None:
        row |= _cost(receipt.measurement, receipt.machine) | _done(receipt)
    elif failure is not None:
        row |= _cost(failure.measurement, failure.machine) | _failed(failure)
    elif task.id in scan.skipped:
        row |= {"status": "skipped", "attempts": 0, "error": scan.skipped[task.id]}
    else:
        row |= {"status": "missing", "attempts": 0}
    if task.warmup:
        row["warmup"] = True
    return row


def _task_columns(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "picture_id": task.picture_id,
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
        "scheduler": str(task.scheduler or "default"),
        "lora": " + ".join(_lora(lora) for lora in task.loras),
        "extra": ", ".join(f"{name}={value}" for name, value in task.extra),
        "memory": task.memory,
        "repeat": task.repeat,
    }


def _lora(lora: Lora) -> str:
    """As a manifest writes it."""
    return f"{lora.place}{f'@{lora.commit}' if lora.commit else ''}(scale={lora.scale:g})"


def loras_of(tasks: Iterable[Task]) -> Callable[[Task], str]:
    """What a task's LoRAs are called: files and strengths, and hashes where two files have one name."""
    contents: dict[str, set[str | None]] = {}
    for loras in {task.loras for task in tasks}:
        for lora in loras:
            contents.setdefault(str(lora), set()).add(lora.sha256)

    def one(lora: Lora) -> str:
        return f"{lora} #{(lora.sha256 or '')[:6]}" if len(contents.get(str(lora), ())) > 1 else str(lora)

    return lambda task: " + ".join(map(one, task.loras)) or "none"


def _done(receipt: Receipt) -> dict[str, Any]:
    return {
        "status": "done",
        "attempts": receipt.attempts,
        "file": receipt.file.path,
        "file_bytes": receipt.file.bytes,
        "sha256": receipt.file.sha256,
        "memory": memory_used(receipt),
        "degraded_from": receipt.degraded_from,
        "batch": receipt.batch,
        "compile": "on" if receipt.compile else "off",
        "started_at": receipt.started_at,
    }


def _failed(failure: Failure) -> dict[str, Any]:
    return {
        "status": "invalid" if failure.error.kind == ErrorKind.INVALID else "failed",
        "attempts": failure.attempts,
        "batch": failure.batch,
        "failed_stage": failure.error.stage,
        "requested_mib": mib(failure.error.requested),
        "started_at": failure.started_at,
        "error": _safe(f"{failure.error.kind}: {failure.error.message}"),
    }


def memory_used(receipt: Receipt) -> str:
    """The memory setting that an image was rendered with."""
    return receipt.memory_used or receipt.task.memory


def mib(value: int | None) -> float | None:
    """Bytes as MiB, to a tenth."""
    return None if value is None else round(value / 2**20, 1)


def _cost(cost: Measurement, machine: Machine) -> dict[str, Any]:
    def seconds(stage: StagePeak | None) -> float | None:
        return None if stage is None else round(stage.seconds, 4)

    def stage_peak(stage: StagePeak | None) -> float | None:
        # What is predicted, and what stages differ in: what torch keeps beside it is left from the stage before.
        return None if stage is None else mib(stage.allocated if stage.allocated is not None else stage.rss)

    return {
        "warmup": cost.warmup,
        "load_s": None if cost.load_s is None else round(cost.load_s, 4),
        "encode_s": seconds(cost.encode),
        "denoise_s": seconds(cost.denoise),
        "decode_s": seconds(cost.decode),
        "save_s": None if cost.save_s is None else round(cost.save_s, 4),
        "between_s": None if cost.between_s is None else round(cost.between_s, 4),
        "total_s": round(cost.total_s, 4),
        "peak_allocated_mib": mib(cost.peak("allocated")),
        "peak_reserved_mib": mib(cost.peak("reserved")),
        "peak_device_mib": mib(cost.peak("device")),
        "peak_rss_mib": mib(cost.peak("rss")),
        "encode_peak_mib": stage_peak(cost.encode),
        "denoise_peak_mib": stage_peak(cost.denoise),
        "decode_peak_mib": stage_peak(cost.decode),
        "memory_source": cost.memory_source,
        "energy_j": cost.energy_j,
        "device": machine.device,
        "device_memory_mib": mib(machine.device_memory),
        "vram_limit_mib": mib(machine.vram_limit),
        "driver": machine.driver,
        "torch": machine.torch,
        "diffusers": machine.diffusers,
    }


def _safe(text: str) -> str:
    """A spreadsheet would run a text that begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
