"""What report.html knows of a run: one file that opens from disk, without a network.

The run's data are put into the page as JSON; its script builds everything from text nodes, so no prompt can become
markup. The pictures stay where they are: thumbnails are loaded from
``thumbs/`` as they come into view, and a click opens the file in ``images/``.

The page of a run that goes on knows which run and which writing of the report it is of. It asks ``.run/status.js``
how the run is, and loads what has changed since from ``.run/page/`` (:mod:`batch.store.live`); scripts from
files are allowed to it alone. That of a run that is over refers to nothing but pictures.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from markupsafe import Markup

from batch import __version__
from batch.records.kinds import HappeningKind
from batch.records.reading import to_json
from batch.records.receipts import Receipt
from batch.records.values import Scalar
from batch.report.images import costs_of_done
from batch.report.page.document import document
from batch.report.status import ImageStatus
from batch.report.timing import Peaks, largest_peaks, median_seconds
from batch.store.live import in_script
from batch.store.losses import PictureLoss

if TYPE_CHECKING:
    from batch.report.images import ReportedImage
    from batch.report.table import Row
    from batch.store.events import LogEntry
    from batch.store.receipts import Scan

COSTS = (
    "attempts", "file", "warmup", "load_s", "encode_s", "denoise_s", "decode_s", "save_s", "total_s",
    "peak_allocated_mib", "peak_reserved_mib", "peak_device_mib", "peak_rss_mib", "degraded_from",
    "touched",
)  # fmt: skip
"""Columns of results.csv that a picture's card or the viewer shows."""

MEMORY = ("peak_device_mib", "peak_reserved_mib", "peak_rss_mib")
"""What stands for a picture's memory: the first of these that is known."""


@dataclass(frozen=True, slots=True)
class Live:
    """Of a run that goes on: which run it is (seconds since 1970), and which writing of its report the page is."""

    began: float
    generation: int
    written: float
    """Seconds since 1970."""


MOST_EVENTS, LOG_CHARACTERS = 500, 4_000
"""Of the history the page shows the end, and of a log the last lines."""


def page(
    data: Mapping[str, object], images: Sequence[str], records: Mapping[str, str], live: Live | None = None
) -> str:
    """The page with its data inside.

    ``images`` are texts of :func:`image_text`, ``records`` those of :func:`record_text` by id. ``live`` is given
    while the run goes on.
    """
    known = dict(data) if live is None else {**data, "live": asdict(live)}
    return document(
        "report.html.jinja",
        script="main",
        styles=("base", "overview", "gallery", "viewer", "looking", "live", "print"),
        files=live is not None,
        data=Markup(with_images(known, images)),
        records=Markup(joined(records)),
    )


def with_images(
    data: Mapping[str, object], images: Sequence[str], records: Mapping[str, str] | None = None
) -> str:
    """Data of a page as JSON that may stand in a script, its ``images`` and ``records`` among it."""
    parts = [in_script(data)[1:-1]] if data else []
    parts.append(f'"images":[{",".join(images)}]')
    if records is not None:
        parts.append(f'"records":{joined(records)}')
    return f"{{{','.join(parts)}}}"


def joined(records: Mapping[str, str]) -> str:
    """An object of texts that are JSON."""
    return "{" + ",".join(f'"{key}":{text}' for key, text in records.items()) + "}"


def record_text(image: ReportedImage) -> str:
    """All that is known of an image, as JSON: its receipt, or its failure; "" where there is neither."""
    return in_script(to_json(image.record)) if image.record else ""


def image_text(image: ReportedImage, row: Row, settings: Mapping[str, str]) -> str:
    """What the page shows of an image, as JSON; ``settings`` are those that vary in the run."""
    return in_script(_image(image, row, settings))


def page_data(
    name: str,
    id: str,
    images: Sequence[ReportedImage],
    settings: Sequence[Mapping[str, str]],
    scan: Scan,
    history: Sequence[LogEntry],
) -> dict[str, object]:
    """Everything the page shows beside its images, as plain JSON data: seconds and MiB. ``id`` is the folder's."""
    first, varying = settings[0] if settings else {}, varying_of(settings)
    return {
        "name": name,
        "id": id,
        "summary": _summary(images, scan),
        "common": {key: value for key, value in first.items() if key not in varying},
        "varying": varying,
        "timing": _timing(images),
        "schedulers": list(_schedulers(images)),
        "happened": list(_happened({image.task.id: image.task.name for image in images}, history)),
    }


def varying_of(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """What tells images apart: the settings that have several values."""
    first = settings[0] if settings else {}
    return [key for key in first if len({item.get(key, "") for item in settings}) > 1]


def told_apart(image: ReportedImage) -> dict[str, str]:
    """What may tell two pictures of a run apart, prompt and seed left out."""
    task, setting, receipt = image.task, image.setting, image.receipt
    found = {
        "model": setting.model,
        "size": setting.size,
        "steps": str(setting.steps),
        "guidance": f"{setting.guidance:g}",
        "scheduler": setting.scheduler,
        "memory": setting.memory_used,
        "dtype": setting.dtype,
        "vae": setting.vae,
        "lora": setting.lora,
        "extra": setting.extra or "none",
        "format": task.format,
        "style": task.style or "none",
        "batch": str(receipt.batch if receipt else 1),
        "compiled": "yes" if receipt and receipt.compile else "no",
        "device": image.record.machine.device if image.record else "",
    }
    if task.repeat is not None:
        found["repeat"] = f"{task.repeat} (warm-up)" if task.warmup else str(task.repeat)
    return found


def _image(image: ReportedImage, row: Row, settings: Mapping[str, str]) -> dict[str, Scalar]:
    task = image.task
    found: dict[str, Scalar] = {key: row.get(key) for key in ("status", *COSTS)}
    found = {key: value for key, value in found.items() if value not in (None, "")}
    found |= settings
    found |= {
        "id": task.id,
        "name": task.name,
        "prompt": task.prompt,
        "seed": str(task.seed),  # a number of 64 bits does not fit into one of JavaScript's
        "width": task.width,
        "height": task.height,
    }
    if task.negative_prompt:
        found["negative_prompt"] = task.negative_prompt
    if image.failure:
        error = image.failure.error
        found |= {"stage": error.stage, "error": str(error)}
    if image.skipped:
        found["error"] = image.skipped
    if image.receipt and image.receipt.repaired:
        found["repaired"] = image.receipt.repaired
    if image.receipt and image.receipt.cut:
        found["cut"] = "; ".join(f"{name} {read.said}" for name, _, read in image.receipt.cuts)
    if image.receipt and image.receipt.allowed:
        found["allowed"] = ", ".join(image.receipt.allowed)
    memory = next((found[kind] for kind in MEMORY if kind in found), None)
    return found if memory is None else found | {"memory_mib": memory}


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
        "peak_mib": peaks[kind] if kind else None,
        "peak_kind": kind,
        "devices": _distinct(receipts, "device"),
        "versions": {
            "run_batch": __version__,
            **{name: ", ".join(_distinct(receipts, name)) for name in ("torch", "diffusers", "driver")},
        },
    }


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


def _happened(names: Mapping[str, str], history: Sequence[LogEntry]) -> Iterator[dict[str, str]]:
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
            "text": event.text,
            "name": names.get(event.task, ""),
            "log": log[-LOG_CHARACTERS:] if isinstance(log, str) else "",
        }


def _distinct(receipts: Sequence[Receipt], name: str) -> list[str]:
    return sorted({value for receipt in receipts if (value := getattr(receipt.machine, name))})


_COSTLY = ("steps", "guidance", "scheduler", "dtype", "lora", "extra")
"""What changes the time of an image beside model, size and memory setting."""


def _timing(images: Sequence[ReportedImage]) -> dict[str, object]:
    """A row for each setting that was tried: how many images, medians of seconds, largest peaks in MiB."""
    varying = [name for name in _COSTLY if len({getattr(image.setting, name) for image in images}) > 1]
    keys = ("model", "size", "memory", *varying)
    groups: dict[tuple[Scalar, ...], list[ReportedImage]] = defaultdict(list)
    for image in images:
        if image.record:
            groups[tuple(getattr(image.setting, name) for name in keys)].append(image)
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
