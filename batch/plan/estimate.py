"""What a run will take, judged by the images it has made so far. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from batch.records import Receipt, Task

BYTES_PER_PIXEL = {"jpeg": 0.7, "webp": 0.5, "avif": 0.4}
"""Of lossy formats at their default quality, on pictures with grain: used until the run's own images tell."""

LOSSLESS_BYTES_PER_PIXEL = 1.9
"""A photographic PNG of 16 megapixels takes 25 to 33 MB; the other lossless formats lie below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Expectations for the images that are to be rendered. None: nothing to judge by yet."""

    seconds: float | None
    disk_bytes: int
    disk_measured: bool
    """From images of this run, not from what pictures usually take."""
    peak_bytes: int | None
    """The largest memory any image of this run took so far, on the device or, without one, in the host."""


def cost(task: Task) -> int:
    """What denoising a task takes, in pixels times calls of the model."""
    return task.rendered_width * task.rendered_height * task.steps * (2 if task.guidance > 1 else 1)


def estimate(to_render: Sequence[Task], receipts: Collection[Receipt]) -> Estimate:
    """Judge ``to_render`` by the receipts of the same run."""
    rated = [item for item in receipts if not item.measurement.warmup] or receipts
    rates = [item.measurement.total_s / cost(item.task) for item in rated]
    sizes: dict[str, list[float]] = {}
    for item in receipts:
        sizes.setdefault(item.task.format, []).append(item.file.bytes / (item.file.width * item.file.height))
    per_pixel = {name: statistics.median(found) for name, found in sizes.items()}
    peaks = [item.measurement.peak("device") or item.measurement.peak("rss") or 0 for item in receipts]
    return Estimate(
        seconds=statistics.median(rates) * sum(map(cost, to_render)) if rates else None,
        disk_bytes=round(sum(task.width * task.height * _per_pixel(task, per_pixel) for task in to_render)),
        disk_measured=all(task.format in per_pixel for task in to_render),
        peak_bytes=max(peaks, default=None),
    )


def _per_pixel(task: Task, measured: dict[str, float]) -> float:
    if ("compression", "none") in task.format_options:
        return 3.0
    return measured.get(task.format) or BYTES_PER_PIXEL.get(task.format, LOSSLESS_BYTES_PER_PIXEL)
