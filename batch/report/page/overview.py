"""What report.html says of a run beside its pictures."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from batch import __version__
from batch.base.shell import past_failures, program, quoted, typed_option
from batch.records.kinds import HappeningKind
from batch.records.receipts import Failure, Machine, Receipt
from batch.records.values import Scalar
from batch.report.images import costs_of_done
from batch.report.sessions import sessions
from batch.report.status import ImageStatus
from batch.report.timing import Peaks, largest_peaks, median_seconds, mib
from batch.store import events
from batch.store.losses import PictureLoss

if TYPE_CHECKING:
    from batch.report.images import ReportedImage
    from batch.store.events import LogEntry
    from batch.store.receipts import Scan

MEMORY = ("peak_device_mib", "peak_reserved_mib", "peak_rss_mib")
"""What stands for a picture's memory: the first of these that is known."""

MOST_EVENTS, LOG_CHARACTERS = 500, 4_000
"""Of the history the page shows the end, and of a log the last lines."""


def overview(
    images: Sequence[ReportedImage],
    scan: Scan,
    history: Sequence[LogEntry],
    again: Mapping[str, str],
    planned: Collection[str],
) -> dict[str, object]:
    """What the page says beside its images, as plain JSON data: seconds and MiB.

    ``again`` is :func:`commands`; ``planned`` are the ids of the images in the order of the plan.
    """
    records: list[Receipt | Failure] = [*scan.receipts.values(), *scan.failures.values()]
    return {
        "summary": _summary(images, scan),
        "again": dict(again),
        "cards": list(_cards([record.machine for record in records])),
        "stopped": _stopped(history),
        "sessions": [asdict(item) for item in sessions(history, records, planned)],
        "timing": _timing(images),
        "schedulers": list(_schedulers(images)),
        "happened": list(_happened(history)),
    }


def commands(
    run_folder: Path, source: str, *, images: int, measures: bool, options: Sequence[str] = ()
) -> dict[str, str]:
    """What makes a job of picks, what goes on with a run and what tries again what failed.

    ``source`` is the path of its manifest: only the first where that is not known. ``images`` is how many the plan
    has, ``options`` what whoever goes on gives again.
    """
    where = quoted(run_folder.resolve())
    picks = {"picks": f"{program()} manifest from {where} --picks picks.txt -o final.yaml"}
    if not source:
        return picks
    manifest = quoted(Path(source))
    run = " ".join([f"{program()} run {manifest} --out {where}", *map(typed_option, options)])
    again = {**picks, "go_on": run, "failed": f"{run} --retry-failed", "plan": f"{program()} plan {manifest}"}
    again["past"] = f"{run} {past_failures(images)}"
    return {**again, "unfit": f"{run} --retry-oom"} if measures else again


def _summary(images: Sequence[ReportedImage], scan: Scan) -> dict[str, object]:
    counts = Counter(image.status for image in images)
    receipts = [image.receipt for image in images if image.receipt]
    costs = costs_of_done(images)
    results = sum(image.failure is not None and image.failure.is_result for image in images)
    peaks = largest_peaks(item.peaks for item in costs).columns()
    kind = next((kind for kind in MEMORY if peaks[kind] is not None), None)
    return {
        "total": len(images),
        **{
            status.value: counts[status] for status in (ImageStatus.DONE, ImageStatus.MISSING, ImageStatus.SKIPPED)
        },
        "failed": sum(image.status.tried_in_vain for image in images) - results,
        "out_of_memory": results,
        "degraded": sum(receipt.degraded_from != "" for receipt in receipts),
        "cut": sum(receipt.cut for receipt in receipts),
        "touched": dict(Counter(str(image.touched) for image in images if image.touched)),
        "torn": scan.count(PictureLoss.TORN, {image.task.id for image in images}),
        "extra": len(scan.receipts) - len(receipts),
        "total_s": math.fsum((item.seconds.total or 0.0) + (item.load_s or 0.0) for item in costs),
        "median_s": median_seconds(costs).total,
        "timed": sum(not item.warmup for item in costs),
        "peak_mib": peaks[kind] if kind else None,
        "peak_kind": kind,
        "devices": _distinct(receipts, "device"),
        "versions": {
            "run_batch": __version__,
            **{name: ", ".join(_distinct(receipts, name)) for name in ("torch", "diffusers", "driver")},
        },
    }


def _stopped(history: Sequence[LogEntry]) -> dict[str, Scalar] | None:
    """What the last run was broken off by, and after how many failures in a row (0: by something else).

    ``for_good`` says that the next run would be broken off by the same.
    """
    last = events.stopped(history)
    if last is None:
        return None
    return {"said": last.text, "in_a_row": events.in_a_row(last), "for_good": events.cannot_go_on(last)}


def _distinct(receipts: Sequence[Receipt], name: str) -> list[str]:
    return sorted({value for receipt in receipts if (value := getattr(receipt.machine, name))})


def _cards(machines: Sequence[Machine]) -> Iterator[dict[str, Scalar]]:
    """Each card that rendered, with what it has and what a run was held to."""
    known = {(item.device, item.device_memory, item.vram_limit) for item in machines if item.device_memory}
    for device, memory, limit in sorted(known, key=str):
        yield {"device": device, "memory_mib": mib(memory), "limit_mib": mib(limit)}


def _schedulers(images: Sequence[ReportedImage]) -> Iterator[dict[str, str]]:
    """The configurations of schedulers at work, each once, with what asked for it and how many images it made."""
    counts = Counter(
        (image.setting.model, image.setting.scheduler, json.dumps(image.receipt.scheduler, sort_keys=True))
        for image in images
        if image.receipt and image.receipt.scheduler
    )
    for (model, asked, text), made in counts.items():
        config = json.loads(text)
        yield {
            "model": model,
            "scheduler": asked,
            "class": str(config.pop("class", "")),
            "settings": ", ".join(f"{name}={json.dumps(value)}" for name, value in config.items()),
            "images": str(made),
        }


def _happened(history: Sequence[LogEntry]) -> Iterator[dict[str, str]]:
    """The end of the history; the start of a run in which nothing happened is no news."""
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
            "text": event.said,
            "image": event.task,
            "log": log[-LOG_CHARACTERS:] if isinstance(log, str) else "",
        }


_COSTLY = ("steps", "guidance", "scheduler", "dtype", "lora", "extra")
"""What changes the time of an image beside model, size and memory setting."""


def _timing(images: Sequence[ReportedImage]) -> dict[str, object]:
    """A row for each setting that was tried: how many images, medians of seconds, largest peaks in MiB."""
    varying = [name for name in _COSTLY if len({getattr(image.setting, name) for image in images}) > 1]
    devices = {image.record.machine.device for image in images if image.record}
    on = ("device",) if len(devices) > 1 else ()
    keys = ("model", "size", "memory", *on, *varying)
    groups: dict[tuple[Scalar, ...], list[ReportedImage]] = defaultdict(list)
    for image in images:
        if image.record:
            of = {"device": image.record.machine.device}
            groups[tuple(of.get(name) or getattr(image.setting, name, "") for name in keys)].append(image)
    rows: list[dict[str, Scalar]] = []
    for key, group in groups.items():
        done = costs_of_done(group)
        times = median_seconds(done)
        row: dict[str, Scalar] = dict(zip(keys, key, strict=True))
        row |= {"images": len(done), "timed": sum(not item.warmup for item in done)}
        row |= {"failed": len(group) - len(done), "total_s": times.total, "denoise_s": times.denoise}
        row |= {"decode_s": times.decode, "save_s": times.save}
        row |= largest_peaks(item.peaks for item in done).columns()
        rows.append(row)
    columns = [*keys, "images", "timed", "failed", "total_s", "denoise_s", "decode_s", "save_s"]
    columns += [name for name in Peaks().columns() if any(row[name] is not None for row in rows)]
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]}
