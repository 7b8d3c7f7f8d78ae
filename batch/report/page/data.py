"""What report.html knows of a run: one file that opens from disk, without a network.

The run's data are put into the page as JSON; its script builds everything from text nodes, so no prompt can become
markup. The pictures stay where they are: thumbnails are loaded from
``thumbs/`` as they come into view, and a click opens the file in ``images/``.

The page of a run that goes on knows which run and which writing of the report it is of. It asks ``.run/status.js``
how the run is, and loads what has changed since from ``.run/page/`` (:mod:`batch.store.live`); scripts from
files are allowed to it alone. That of a run that is over refers to nothing but pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from batch.records.reading import to_json
from batch.records.receipts import Failure, Receipt
from batch.records.values import Scalar
from batch.report.page.document import document
from batch.report.page.overview import MEMORY
from batch.report.sessions import moment
from batch.report.timing import seconds
from batch.store.live import in_script

if TYPE_CHECKING:
    from batch.report.images import ReportedImage
    from batch.report.table import Row

COSTS = (
    "attempts", "file", "warmup", "load_s", "encode_s", "denoise_s", "decode_s", "save_s", "between_s", "total_s",
    "peak_allocated_mib", "peak_reserved_mib", "peak_device_mib", "peak_rss_mib", "degraded_from",
    "touched", "file_bytes",
)  # fmt: skip
"""Columns of results.csv that a picture's card or the viewer shows."""


@dataclass(frozen=True, slots=True)
class LivePage:
    """Of a run that goes on: which run it is (seconds since 1970), and which writing of its report the page is."""

    began: float
    generation: int
    written: float
    """Seconds since 1970."""


def page(
    data: Mapping[str, object], images: Sequence[str], records: Mapping[str, str], live: LivePage | None = None
) -> str:
    """The page with its data inside.

    ``images`` are texts of :func:`image_text`, ``records`` those of :func:`record_text` by id. ``live`` is given
    while the run goes on.
    """
    known = dict(data) if live is None else {**data, "live": asdict(live)}
    return document(
        "report.html.jinja",
        script="main",
        styles=(
            "base",
            "overview",
            "charts",
            "gallery",
            "grid",
            "picks",
            "viewer",
            "looking",
            "details",
            "live",
            "print",
            "forced",
        ),
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
    name: str, id: str, settings: Sequence[Mapping[str, str]], beside: Mapping[str, object]
) -> dict[str, object]:
    """Everything the page shows beside its images, as plain JSON data.

    ``id`` is the folder's, ``settings`` are those of its images, and the rest is that of
    :func:`batch.report.page.overview.overview`.
    """
    first, varying = settings[0] if settings else {}, varying_of(settings)
    return {
        "name": name,
        "id": id,
        "common": {key: value for key, value in first.items() if key not in varying},
        "varying": varying,
        **beside,
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
        found |= {"stage": error.stage, "error": str(error), "unfit": image.failure.out_of_memory}
    if image.skipped:
        found["error"] = image.skipped
    if image.lost:
        found["lost"] = image.lost
    if image.receipt and image.receipt.repaired:
        found["repaired"] = image.receipt.repaired
    if image.receipt and image.receipt.cut:
        found["cut"] = "; ".join(f"{name} {read.said}" for name, _, read in image.receipt.cuts)
    if image.receipt and image.receipt.allowed:
        found["allowed"] = ", ".join(image.receipt.allowed)
    if image.record:
        found |= _at_work(image.record)
    memory = next((found[kind] for kind in MEMORY if kind in found), None)
    return found if memory is None else found | {"memory_mib": memory}


def _at_work(record: Receipt | Failure) -> dict[str, Scalar]:
    """When it was begun, in seconds since 1970, and what a pipeline that is called whole took."""
    found: dict[str, Scalar] = {}
    if (at := moment(record.started_at)) is not None:
        found["at"] = at
    if record.measurement.whole is not None:
        found["whole_s"] = seconds(record.measurement.whole.seconds)
    return found
