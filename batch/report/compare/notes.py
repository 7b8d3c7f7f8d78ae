"""What stands in the way of comparing runs: images that are missing, other versions, other cards.

Nothing here is refused: the figures are shown, and a note says what they do not tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch.base.text import plural
from batch.records.kinds import RunKind
from batch.report.images import memory_used
from batch.report.status import ImageStatus

if TYPE_CHECKING:
    from batch.report.compare.runs import Run

_MOST_SETTINGS = 5
"""That are named; the others are counted."""

RANDOM = "random:"
"""What the name of a model begins with whose weights are drawn."""


def run_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Everything to know about runs; pictures of the others are compared with those of the first."""
    yield from _images(runs)
    yield from _machines(runs)
    yield from _measuring(runs)
    for run in runs:
        limits = {limit for item in run.records() if (limit := item.machine.vram_limit)}
        if limits:
            named = ", ".join(f"{limit / 2**30:g} GiB" for limit in sorted(limits))
            yield (
                f"{run.label} was held to {named} of its card: in memory it stands for a smaller one, not in time"
            )
    models = {image.task.model for run in runs for image in run.images}
    if drawn := sorted(model for model in models if model.startswith(RANDOM)):
        yield (
            f"the weights of {', '.join(drawn)} are random: time and memory are those of the real model and so "
            "are identical pixels; PSNR and SSIM say little"
        )


def _images(runs: Sequence[Run]) -> Iterator[str]:
    """Images that are missing, and pictures that are not the plain ones."""
    for run in runs:
        missing = sum(image.status is ImageStatus.MISSING for image in run.images)
        if missing:
            yield (
                f"{run.label}: {missing} of {len(run.images)} images are missing, or their receipts are damaged: "
                "verify says which"
            )
    degraded = sorted({memory_used(item) for item in runs[0].first_done().values() if item.degraded_from})
    if degraded:
        yield (
            f"memory ran out in {runs[0].label}: pictures that the others are compared with were rendered with "
            f"{', '.join(degraded)}"
        )
    for run in runs:
        receipts = run.receipts()
        batched, compiled = sum(item.batch > 1 for item in receipts), sum(item.compile for item in receipts)
        for count, how in ((batched, "denoised in batches"), (compiled, "rendered by a compiled model")):
            if count:
                yield (
                    f"{run.label}: {count} of {len(receipts)} pictures {how}: low bits differ from those rendered "
                    "alone by the model as it is"
                )


def _machines(runs: Sequence[Run]) -> Iterator[str]:
    """CPU against GPU; memory on the card that is not the process's own; versions that are not the same."""
    sources = {run.label: {item.measurement.memory_source for item in run.receipts()} for run in runs}
    on_cpu = [label for label, found in sources.items() if "rss" in found]
    on_gpu = [label for label, found in sources.items() if found - {"rss"}]
    if on_cpu and on_gpu:
        yield (
            f"rendered on a CPU: {', '.join(on_cpu)}; on a GPU: {', '.join(on_gpu)}: neither times nor memory "
            "can be compared, and low bits of pixels differ"
        )
    changed = [label for label, found in sources.items() if "nvml-device-change" in found]
    if changed:
        yield (
            f"{', '.join(changed)}: the driver hides processes, so memory on the device is what the whole card's "
            "use grew by"
        )
    for name in ("torch", "diffusers", "driver"):
        had: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            for version in sorted({found for item in run.records() if (found := getattr(item.machine, name))}):
                had[version].append(run.label)
        if len(had) > 1:
            named = "; ".join(f"{version} in {', '.join(labels)}" for version, labels in had.items())
            yield f"not the same {name}: {named}. Times, memory and low bits of pixels may differ for that"


def _measuring(runs: Sequence[Run]) -> Iterator[str]:
    """Whether each setting had a process of its own, and the card was the run's alone."""
    measured = [run.label for run in runs if run.kind == RunKind.MEASURE]
    rendered = [run.label for run in runs if run.kind != RunKind.MEASURE]
    if measured and rendered:
        yield (
            f"{', '.join(measured)} measured each setting in a process of its own, {', '.join(rendered)} rendered "
            "one after the other: peaks and times of the latter hold what earlier images left"
        )
    for run in runs:
        receipts = [item for item in run.receipts() if not item.task.warmup]
        disturbed = [item for item in receipts if item.measurement.card and item.measurement.card.foreign]
        if disturbed:
            settings = list(dict.fromkeys(f"{item.task.size} {memory_used(item)}" for item in disturbed))
            more = f" and {len(settings) - _MOST_SETTINGS} more" if len(settings) > _MOST_SETTINGS else ""
            yield (
                f"{run.label}: other processes computed on the card during {len(disturbed)} of "
                f"{plural(len(receipts), 'images')}, so times are too long and memory on the device may be too: "
                f"{'; '.join(settings[:_MOST_SETTINGS])}{more}"
            )
