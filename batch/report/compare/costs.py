"""What a setting costs: the receipts of some runs to one row per setting, with times, peaks, energy and failures.

Richer than the table of report.html (:mod:`batch.report.timing`): a setting that ran out of memory, or was not
tried, has its row too, and what differs between the runs is never mixed in one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from batch.records import Failure, Measurement, Receipt, Task
from batch.report import table, timing
from batch.store.receipts import Scan

KEYS = ("run", "device", "model", "size", "setting", "steps", "dtype")
"""What has a row of its own."""

SOMETIMES = ("revision", "guidance", "scheduler", "lora", "extra")
"""What has, where the runs differ in it."""

TIMES = ("encode_s", "denoise_s", "decode_s", "save_s", "total_s")
"""Medians over the images of a row, those that warm a process up left out."""

KINDS = ("allocated", "reserved", "device", "rss")
PEAKS = tuple(f"peak_{kind}_mib" for kind in KINDS)
STAGE_PEAKS = tuple(f"{stage}_{kind}_mib" for stage in ("encode", "denoise", "decode") for kind in KINDS)
"""The largest over the images of a row, those that warm a process up included: they must fit, too."""

COUNTS = ("images", "timed", "failed", "out_of_memory", "skipped", "foreign")
"""Done; of these behind the medians; failed; of these for want of memory; not tried; with others on the card."""

RATES = ("total_min_s", "total_max_s", "images_per_hour", "mp_per_s", "wh_per_image")

_WORK = {
    "load": "loading the model",
    "encode": "encoding the text",
    "denoise": "denoising",
    "decode": "decoding",
    "save": "saving",
    "render": "rendering",
}


def frame(label: str, tasks: Sequence[Task], scan: Scan, loras: Callable[[Task], str]) -> pd.DataFrame:
    """The rows of results.csv for one run, with what a comparison needs beside them; missing ones left out."""
    rows = timing.with_settings(table.frame(tasks, scan))
    beside = pd.DataFrame([_beside(task, scan, loras(task)) for task in tasks], columns=list(_BESIDE)).astype(
        _BESIDE
    )
    rows = rows.assign(**{name: beside[name] for name in beside.columns}, run=label)
    rows["device"] = _device(rows)
    rows["revision"] = rows.revision.str.slice(0, 10)
    return rows[rows.status != "missing"]


_BESIDE: dict[str, Any] = {
    **dict.fromkeys(STAGE_PEAKS, "Float64"),
    **dict.fromkeys(("foreign", "oom", "warms"), "bool"),
    "lora": "string",
}
"""What :func:`frame` adds, with the pandas type it has."""


def _beside(task: Task, scan: Scan, loras: str) -> dict[str, Any]:
    record: Receipt | Failure | None = scan.receipts.get(task.id) or scan.failures.get(task.id)
    cost = record.measurement if record else Measurement()
    return {
        **_stage_peaks(cost),
        "foreign": bool(cost.card and cost.card.foreign),
        "oom": isinstance(record, Failure) and record.out_of_memory,
        "warms": is_warmup(task),
        "lora": loras,
    }


def is_warmup(task: Task) -> bool:
    """Whether a measurement rendered this only to warm its process up: it is none of its images."""
    return bool(task.warmup)


def _stage_peaks(cost: Measurement) -> dict[str, float | None]:
    stages = {"encode": cost.encode, "denoise": cost.denoise, "decode": cost.decode}
    return {
        f"{name}_{kind}_mib": table.mib(getattr(stage, kind))
        for name, stage in stages.items()
        if stage is not None
        for kind in KINDS
    }


def _device(rows: pd.DataFrame) -> pd.Series:
    """The device of every row, with the limit it was held to; that of the run for a task that never had one."""
    limit = rows.vram_limit_mib
    named = rows.device.fillna("").astype("object")
    held = [
        f"{device} (limited to {mib / 1024:g} GiB)" if device and not pd.isna(mib) else device
        for device, mib in zip(named, limit, strict=True)
    ]
    known = {device for device in held if device}
    only = known.pop() if len(known) == 1 else ""
    return pd.Series([device or only for device in held], index=rows.index, dtype="object")


def keys(rows: pd.DataFrame) -> tuple[str, ...]:
    """The columns that tell rows of the summary apart: :data:`KEYS`, and what of :data:`SOMETIMES` varies."""
    varying = [name for name in SOMETIMES if name != "revision" and rows[name].nunique(dropna=False) > 1]
    if (rows.groupby("model")["revision"].nunique() > 1).any():
        varying.insert(0, "revision")  # of one model; two models have two anyway
    return (*KEYS, *varying)


def summarise(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per group, in order of first appearance.

    The columns are the keys, :data:`COUNTS`, :data:`TIMES`, :data:`RATES`, :data:`PEAKS`, :data:`STAGE_PEAKS`,
    ``device_memory_mib`` (the limit, where one was set), ``cpu`` (no GPU rendered it) and ``outcome``: in words,
    what became of images that are not there.
    """
    groups = rows.groupby(list(by), sort=False, dropna=False)
    found = [
        dict(zip(by, key, strict=True)) | _summary(part)
        for key, part in groups  # of one key it would be no tuple; there are seven at least
    ]
    columns = [*by, *COUNTS, *TIMES, *RATES, *PEAKS, *STAGE_PEAKS, "device_memory_mib", "cpu", "outcome"]
    numbers = [*TIMES, *RATES, *PEAKS, *STAGE_PEAKS, "device_memory_mib"]
    return pd.DataFrame(found, columns=columns).astype(
        dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(numbers, "Float64") | {"cpu": "boolean"}
    )


def _summary(part: pd.DataFrame) -> dict[str, Any]:
    images = part[~part.warms]
    done = images[images.status == "done"]
    timed = done[~done.warmup.fillna(False)]
    failed = images[images.status.isin(table.FAILED)]
    total = _median(timed.total_s)
    pixels = done.width * done.height
    return {
        "images": len(done),
        "timed": len(timed),
        "failed": len(failed),
        "out_of_memory": int(failed.oom.sum()),
        "skipped": len(images) - len(done) - len(failed),
        "foreign": int(timed.foreign.sum()),
        **{name: _median(timed[name]) for name in TIMES},
        "total_min_s": timed.total_s.min(),
        "total_max_s": timed.total_s.max(),
        "images_per_hour": _share(3600.0, total),
        "mp_per_s": _share(pixels.iloc[0] / 1e6, total) if len(done) else None,
        "wh_per_image": _share(_median(timed.energy_j), 3600.0),
        **{name: part[part.status == "done"][name].max() for name in (*PEAKS, *STAGE_PEAKS)},
        "device_memory_mib": part.vram_limit_mib.fillna(part.device_memory_mib).max(),
        "cpu": bool((done.memory_source == "rss").any()),
        "outcome": "; ".join(_outcome(images)),
    }


def _median(values: pd.Series) -> Any:
    """The median of what is known; pandas before 3.0 warns where that is nothing but blanks."""
    return values.dropna().median()


def _share(part: Any, of: Any) -> float | None:
    """A quotient; None where either is not known or the divisor is nothing."""
    return None if pd.isna(part) or pd.isna(of) or not of else float(part / of)


def _outcome(images: pd.DataFrame) -> Iterable[str]:
    """What became of the images that are not done, most frequent first; with how many where not of all."""
    lost = images[images.status != "done"]
    causes: dict[str, int] = {}
    for row in lost.to_dict("records"):
        cause = _cause(row)
        causes[cause] = causes.get(cause, 0) + 1
    for cause, count in sorted(causes.items(), key=lambda item: -item[1]):
        yield cause if count == len(images) else f"{cause} ({count} of {len(images)})"


def _cause(row: Mapping[Any, Any]) -> str:
    stage = row["failed_stage"] if isinstance(row["failed_stage"], str) else ""
    doing = f" while {_WORK.get(stage, stage)}" if stage else ""
    if row["oom"]:
        asked = row["requested_mib"]
        return f"out of memory{doing}" + ("" if pd.isna(asked) else f", {asked:,.0f} MiB asked for")
    error = row["error"] if isinstance(row["error"], str) else ""
    return f"{row['status']}{doing}" + (f": {error}" if error else "")
