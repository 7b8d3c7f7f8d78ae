"""What a run will take, judged by the images made so far, here or in earlier runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from batch.catalogue import pag
from batch.plan.alike import RateKey, rate_key, session_key
from batch.records.receipts import Receipt
from batch.records.tasks import Task
from batch.records.values import Arguments

BYTES_PER_PIXEL = {"jpeg": 0.7, "webp": 0.5, "avif": 0.4}
"""Of lossy formats at their default quality, on pictures with grain: used until images tell."""

LOSSLESS_BYTES_PER_PIXEL = 1.9
"""A photographic PNG of 16 megapixels takes 25 to 33 MB; the other lossless formats lie below."""

BESIDES = 48 * 1024
"""Bytes of a picture's thumbnail, receipt and part of the report, in blocks of 4 KiB."""


class EstimateSource(StrEnum):
    """What a figure rests on; of several, the weakest."""

    THIS_RUN = "this run"
    EARLIER_RUNS = "earlier runs"
    NOT_KNOWN = "not known"
    """Of seconds: there is no figure."""
    AS_PHOTOGRAPHS = "as photographs take it"
    """Of the disk."""

    @property
    def phrase(self) -> str:
        """What stands behind a figure for people."""
        if self is EstimateSource.THIS_RUN:
            return "as this run's images took"
        return "as earlier runs took here" if self is EstimateSource.EARLIER_RUNS else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Medians over the images of one kind."""

    seconds: float | None
    """Per unit of :func:`cost`; None where nothing was denoised."""
    bytes_per_pixel: float


Knowledge = Mapping[RateKey, Learned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Expectations for the images that are to be rendered."""

    seconds: float | None
    """None: of at least one of the models nothing is known."""
    seconds_from: EstimateSource
    disk_bytes: int
    disk_from: EstimateSource
    peak_bytes: int | None
    """The largest memory any image of this run took so far, on the device or, without one, in the host."""


def cost(task: Task) -> int:
    """What denoising a task takes, in pixels times calls of the model."""
    return task.rendered_width * task.rendered_height * task.steps * pag.passes(task)


def medians(seconds: Sequence[float], bytes_per_pixel: Sequence[float]) -> Learned:
    """What was learned from single images, or from whole runs."""
    return Learned(
        seconds=statistics.median(seconds) if seconds else None,
        bytes_per_pixel=statistics.median(bytes_per_pixel),
    )


def learn(receipts: Iterable[Receipt]) -> dict[RateKey, Learned]:
    """What the images of these receipts tell about others of their kinds."""
    kinds: dict[RateKey, list[Receipt]] = {}
    for item in receipts:
        kinds.setdefault(rate_key(item.task), []).append(item)
    learned: dict[RateKey, Learned] = {}
    for key, items in kinds.items():
        # An image decoded from kept latents took a fraction of what rendering it takes.
        rendered = [item for item in items if item.measurement.denoise or item.measurement.whole]
        timed = [item for item in rendered if not item.measurement.warmup] or rendered
        learned[key] = medians(
            seconds=[item.measurement.total_s / cost(item.task) for item in timed],
            bytes_per_pixel=[item.file.bytes / (item.file.width * item.file.height) for item in items],
        )
    return learned


def per_cost(task: Task, known: Sequence[Knowledge]) -> tuple[float | None, int]:
    """Seconds per unit of :func:`cost`, and which source knew; ``(None, len(known))`` when none does.

    The format decides how a picture is saved, hardly how long it takes: any of the model's will do.
    """
    for number, source in enumerate(known):
        exact = source.get(rate_key(task))
        others = [item for key, item in source.items() if key[:2] == session_key(task)]
        for item in (exact, *others):
            if item is not None and item.seconds is not None:
                return item.seconds, number
    return None, len(known)


def per_pixel(task: Task, known: Sequence[Knowledge]) -> tuple[float, int]:
    """Bytes per pixel of the file, and which source knew; ``len(known)``: as photographs take it."""
    if ("compression", "none") in task.format_options:
        return 3.0, 0
    for number, source in enumerate(known):
        exact = source.get(rate_key(task))
        # Pictures of another model, of the demo or of random weights above all, pack otherwise.
        alike = [
            item.bytes_per_pixel for key, item in source.items() if (key[0], key[2]) == (task.model, task.format)
        ]
        if exact is not None or alike:
            return exact.bytes_per_pixel if exact else statistics.median(alike), number
    return BYTES_PER_PIXEL.get(task.format, LOSSLESS_BYTES_PER_PIXEL), len(known)


def disk_of(tasks: Iterable[Task], known: Sequence[Knowledge]) -> int:
    """Bytes that these tasks take on the disk."""
    return sum(group.disk(known) for group in _groups(tasks))


def estimate(
    to_render: Sequence[Task], receipts: Collection[Receipt], history: Knowledge | None = None
) -> Estimate:
    """Judge ``to_render`` by the receipts of the same run, then by earlier runs on the same machine."""
    known = (learn(receipts), history or {})
    groups = _groups(to_render)
    rates = [per_cost(group.sample, known) for group in groups]
    seconds = [rate * group.cost for group, (rate, _) in zip(groups, rates, strict=True) if rate is not None]
    stages = [item.measurement.together for item in receipts]
    peaks = [item.device or item.rss or 0 for item in stages]
    return Estimate(
        seconds=sum(seconds) if groups and len(seconds) == len(groups) else None,
        seconds_from=_TIME[max((number for _, number in rates), default=2)],
        disk_bytes=sum(group.disk(known) for group in groups),
        disk_from=_DISK[max((per_pixel(group.sample, known)[1] for group in groups), default=2)],
        peak_bytes=max(peaks, default=None),
    )


_TIME = (EstimateSource.THIS_RUN, EstimateSource.EARLIER_RUNS, EstimateSource.NOT_KNOWN)
_DISK = (EstimateSource.THIS_RUN, EstimateSource.EARLIER_RUNS, EstimateSource.AS_PHOTOGRAPHS)


@dataclass(slots=True)
class _Group:
    """Tasks that one rate holds for: looked up once, however many there are."""

    sample: Task
    count: int = 0
    pixels: int = 0
    cost: int = 0

    def disk(self, known: Sequence[Knowledge]) -> int:
        return round(self.pixels * per_pixel(self.sample, known)[0]) + self.count * BESIDES


def _groups(tasks: Iterable[Task]) -> list[_Group]:
    groups: dict[tuple[RateKey, Arguments], _Group] = {}
    for task in tasks:
        group = groups.setdefault((rate_key(task), task.format_options), _Group(task))
        group.count += 1
        group.pixels += task.width * task.height
        group.cost += cost(task)
    return list(groups.values())
