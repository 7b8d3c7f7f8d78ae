"""report.html: one file that opens from disk, without a network.

The page is ``report.html.template`` with the run's data put in as JSON; its script builds everything from
text nodes, so no prompt can become markup. The pictures stay where they are: thumbnails are loaded from
``thumbs/`` as they come into view, and a click opens the file in ``images/``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from batch import __version__
from batch.base import atomic
from batch.records import HappeningKind, Receipt, Task
from batch.report import table, timing
from batch.store import events
from batch.store.events import LogEntry
from batch.store.folder import RunFolder
from batch.store.receipts import Scan

PLACEHOLDER = "{{DATA}}"

COSTS = (
    "attempts", "file", "warmup", "load_s", "encode_s", "denoise_s", "decode_s", "save_s", "total_s",
    "peak_allocated_mib", "peak_reserved_mib", "peak_device_mib", "peak_rss_mib", "degraded_from",
)  # fmt: skip
"""Columns of results.csv that a picture's card or the viewer shows."""

MEMORY = ("peak_device_mib", "peak_reserved_mib", "peak_rss_mib")
"""What stands for a picture's memory: the first of these that is known."""

MOST_EVENTS, LOG_CHARACTERS = 500, 4_000
"""Of the history the page shows the end, and of a log the last lines."""


def write(folder: RunFolder, tasks: Sequence[Task], scan: Scan, rows: pd.DataFrame) -> Path:
    """Write report.html; ``rows`` is the table of results.csv for the same tasks."""
    text = page(page_data(folder.name(), tasks, scan, rows, events.read(folder)))
    path = folder.root / "report.html"
    atomic.write(path, text.encode(), folder.runner)
    return path


def page(data: dict[str, Any]) -> str:
    """The page with its data inside. Nothing in the data can end the script element that holds it."""
    template = resources.files("batch.report").joinpath("report.html.template").read_text(encoding="utf-8")
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return template.replace(PLACEHOLDER, text)


def page_data(
    name: str, tasks: Sequence[Task], scan: Scan, rows: pd.DataFrame, history: Sequence[LogEntry]
) -> dict[str, Any]:
    """Everything the page shows, as plain JSON data: seconds and MiB."""
    records = [_known(record) for record in rows[["status", *COSTS]].to_dict("records")]
    loras = table.loras_of(tasks)
    settings = [_settings(task, scan, loras(task)) for task in tasks]
    varying = [key for key in (settings[0] if settings else ()) if len({item[key] for item in settings}) > 1]
    return {
        "name": name,
        "summary": _summary(tasks, scan, rows),
        "common": {key: value for key, value in (settings[0] if settings else {}).items() if key not in varying},
        "varying": varying,
        "timing": _timing(
            rows.assign(lora=[item["lora"] for item in settings])
        ),  # paths would push the figures away
        "schedulers": list(_schedulers(tasks, scan)),
        "happened": list(_happened(tasks, history)),
        "images": [
            _image(task, record, {key: setting[key] for key in varying}, scan)
            for task, record, setting in zip(tasks, records, settings, strict=True)
        ],
    }


def _known(record: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in record.items() if not pd.isna(value) and value != ""}


def _settings(task: Task, scan: Scan, loras: str) -> dict[str, str]:
    """What may tell two pictures of a run apart, prompt and seed left out."""
    receipt = scan.receipts.get(task.id)
    record = receipt or scan.failures.get(task.id)
    return {
        "model": task.model,
        "size": task.size,
        "steps": str(task.steps),
        "guidance": f"{task.guidance:g}",
        "scheduler": str(task.scheduler or "default"),
        "memory": table.memory_used(receipt) if receipt else task.memory,
        "dtype": task.dtype,
        "lora": loras,
        "extra": ", ".join(f"{key}={value}" for key, value in task.extra) or "none",
        "format": task.format,
        "style": task.style or "none",
        "batch": str(receipt.batch if receipt else 1),
        "compiled": "yes" if receipt and receipt.compile else "no",
        "device": record.machine.device if record else "",
        **({} if task.repeat is None else {"repeat": _repeat(task)}),
    }


def _repeat(task: Task) -> str:
    return f"{task.repeat} (warm-up)" if task.warmup else str(task.repeat)


def _image(task: Task, record: dict[str, Any], settings: dict[str, str], scan: Scan) -> dict[str, Any]:
    image = record | settings | {
        "id": task.id,
        "name": task.name,
        "prompt": task.prompt,
        "seed": str(task.seed),  # a number of 64 bits does not fit into one of JavaScript's
        "width": task.width,
        "height": task.height,
    }  # fmt: skip
    if task.negative_prompt:
        image["negative_prompt"] = task.negative_prompt
    failure = scan.failures.get(task.id)
    if failure is not None:
        image["stage"] = failure.error.stage
        image["error"] = f"{failure.error.kind}: {failure.error.message}"
    if task.id in scan.skipped:
        image["error"] = scan.skipped[task.id]
    receipt = scan.receipts.get(task.id)
    if receipt is not None and receipt.repaired:
        image["repaired"] = receipt.repaired
    if receipt is not None and receipt.allowed:
        image["allowed"] = ", ".join(receipt.allowed)
    memory = next((record[kind] for kind in MEMORY if kind in record), None)
    return image if memory is None else image | {"memory_mib": memory}


def _summary(tasks: Sequence[Task], scan: Scan, rows: pd.DataFrame) -> dict[str, Any]:
    done = rows[rows.status == "done"]
    receipts = [scan.receipts[task.id] for task in tasks if task.id in scan.receipts]
    timed = done[~done.warmup.fillna(False)]
    unfit = sum(task.repeat is not None and _out_of_memory(task, scan) for task in tasks)
    kind = next((kind for kind in MEMORY if done[kind].notna().any()), None)
    return {
        "total": len(tasks),
        **{status: int((rows.status == status).sum()) for status in ("done", "missing", "skipped")},
        "failed": int(rows.status.isin(table.FAILED).sum()) - unfit,
        "out_of_memory": unfit,
        "degraded": int((done.degraded_from.fillna("") != "").sum()),
        "extra": len(scan.receipts) - len(receipts),
        "total_s": float(done.total_s.sum() + done.load_s.sum()),
        "median_s": float(timed.total_s.median()) if len(timed) else None,
        "peak_mib": float(done[kind].max()) if kind else None,
        "peak_kind": kind,
        "devices": _distinct(receipts, "device"),
        "versions": {
            "run_batch": __version__,
            **{name: ", ".join(_distinct(receipts, name)) for name in ("torch", "diffusers", "driver")},
        },
    }


def _out_of_memory(task: Task, scan: Scan) -> bool:
    failure = scan.failures.get(task.id)
    return failure is not None and failure.out_of_memory


def _schedulers(tasks: Sequence[Task], scan: Scan) -> Iterator[dict[str, str]]:
    """The configurations of schedulers at work, each once, with what asked for it and how many images it made."""
    receipts = [scan.receipts[task.id] for task in tasks if task.id in scan.receipts]
    counts = Counter(
        (item.task.model, str(item.task.scheduler or "default"), json.dumps(item.scheduler, sort_keys=True))
        for item in receipts
        if item.scheduler
    )
    for (model, asked, text), images in counts.items():
        config = json.loads(text)
        yield {
            "model": model,
            "scheduler": asked,
            "class": str(config.pop("class", "")),
            "settings": ", ".join(f"{name}={json.dumps(value)}" for name, value in config.items()),
            "images": str(images),
        }


def _happened(tasks: Sequence[Task], history: Sequence[LogEntry]) -> Iterator[dict[str, str]]:
    """The end of the history; the start of a run in which nothing happened is no news."""
    names = {task.id: task.name for task in tasks}
    news = [
        event
        for event, later in zip_longest(history, history[1:])
        if event.kind != HappeningKind.STARTED or (later is not None and later.kind != HappeningKind.STARTED)
    ]
    for event in news[-MOST_EVENTS:]:
        log = event.data.get("log")
        yield {
            "time": event.time,
            "kind": event.kind,
            "text": event.text,
            "name": names.get(event.task, ""),
            "log": log[-LOG_CHARACTERS:] if isinstance(log, str) else "",
        }


def _distinct(receipts: Sequence[Receipt], name: str) -> list[str]:
    return sorted({value for receipt in receipts if (value := getattr(receipt.machine, name))})


_COSTLY = ("steps", "guidance", "scheduler", "dtype", "lora", "extra")
"""What changes the time of an image beside model, size and memory setting."""


def _timing(rows: pd.DataFrame) -> dict[str, Any]:
    varying = [name for name in _COSTLY if rows[name].nunique(dropna=False) > 1]
    table = timing.summarise(timing.with_settings(rows), ("model", "size", "setting", *varying))
    table = table.drop(columns=[kind for kind in timing.PEAKS if table[kind].isna().all()])
    table = table.rename(columns={"setting": "memory"})
    cells = table.astype(object).where(table.notna(), None)
    return {"columns": list(table.columns), "rows": cells.to_numpy().tolist()}
