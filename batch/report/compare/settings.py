"""The images of some runs to one row per setting.

Richer than the table of report.html: a setting that ran out of memory, or was not tried, has its row too, and
what differs between the runs is never mixed in one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.records.receipts import largest
from batch.report.compare.costs import Device, Loss, SettingCosts
from batch.report.images import costs_of_done
from batch.report.status import ImageStatus
from batch.report.timing import largest_peaks, median, median_seconds, mib

if TYPE_CHECKING:
    from batch.report.compare.runs import Run
    from batch.report.images import ReportedImage, ShownSetting

KEYS = ("run", "device", "model", "size", "memory", "steps", "dtype")
"""What has a row of its own."""

SOMETIMES = ("guidance", "scheduler", "vae", "lora", "extra")
"""What has, where the runs differ in it; ``revision`` has, where they differ in that of one model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingImages:
    """The images of one setting on one device in one run, those that warm up included."""

    run: str
    device: Device
    setting: ShownSetting
    images: Sequence[ReportedImage]


def by_setting(runs: Sequence[Run]) -> list[SettingImages]:
    """What was tried or skipped, in order of first appearance in the manifest."""
    groups: dict[tuple[str, Device, ShownSetting], list[ReportedImage]] = defaultdict(list)
    for run in runs:
        known = {device for image in run.images if (device := _device(image)).name}
        of_run = known.pop() if len(known) == 1 else Device()  # that of an image which never had one
        for image in run.as_read():
            if image.status is not ImageStatus.MISSING:
                device = _device(image)
                groups[run.label, device if device.name else of_run, image.setting].append(image)
    return [
        SettingImages(run=run, device=device, setting=setting, images=images)
        for (run, device, setting), images in groups.items()
    ]


def _device(image: ReportedImage) -> Device:
    if not image.record or not image.record.machine.device:
        return Device()
    machine = image.record.machine
    return Device(name=machine.device, limit_mib=mib(machine.vram_limit))


def costs_of(group: SettingImages) -> SettingCosts:
    """What the images of a setting cost together."""
    images = [image for image in group.images if not image.task.warmup]
    done, all_done = costs_of_done(images), costs_of_done(group.images)
    failures = [image.failure for image in images if image.failure]
    timed = [item for item in done if not item.warmup]
    seconds = median_seconds(done)
    totals = [item.seconds.total for item in timed if item.seconds.total is not None]
    energy = median(item.energy_j for item in timed)
    pixels = next((image.task.width * image.task.height for image in images if image.receipt), 0)
    machines = [image.record.machine for image in group.images if image.record]
    return SettingCosts(
        run=group.run,
        device=group.device,
        setting=group.setting,
        images=len(done),
        timed=len(timed),
        failed=len(failures),
        out_of_memory=sum(failure.out_of_memory for failure in failures),
        skipped=len(images) - len(done) - len(failures),
        foreign=sum(item.foreign for item in timed),
        seconds=seconds,
        total_min_s=min(totals, default=None),
        total_max_s=max(totals, default=None),
        images_per_hour=3600.0 / seconds.total if seconds.total else None,
        mp_per_s=pixels / 1e6 / seconds.total if seconds.total else None,
        wh_per_image=None if energy is None else energy / 3600.0,
        peaks=largest_peaks(item.peaks for item in all_done),
        encode=largest_peaks(item.encode for item in all_done),
        denoise=largest_peaks(item.denoise for item in all_done),
        decode=largest_peaks(item.decode for item in all_done),
        device_memory_mib=largest(mib(machine.vram_limit or machine.device_memory) for machine in machines),
        cpu=any(image.receipt.measurement.memory_source == "rss" for image in images if image.receipt),
        lost=tuple(Counter(Loss.of(image) for image in images if not image.receipt).most_common()),
    )


def keys(rows: Sequence[SettingCosts]) -> tuple[str, ...]:
    """The columns that tell rows apart: :data:`KEYS`, and what of :data:`SOMETIMES` varies."""
    varying = [name for name in SOMETIMES if len({row.key(name) for row in rows}) > 1]
    revisions: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        revisions[row.setting.model].add(row.setting.revision)
    if any(len(found) > 1 for found in revisions.values()):
        varying.insert(0, "revision")  # of one model; two models have two anyway
    return (*KEYS, *varying)


def rival_keys(names: Sequence[str]) -> tuple[str, ...]:
    """Of the columns that tell rows apart those in which rivals are the same; the device is one."""
    return tuple(name for name in names if name not in ("run", "memory"))
