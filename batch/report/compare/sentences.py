"""Which setting to take, in the sentences a person wants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind

if TYPE_CHECKING:
    from batch.report.compare.choice import FastestSetting
    from batch.report.compare.costs import Device
    from batch.report.compare.rows import ComparedSetting


def sentences(rows: Sequence[ComparedSetting], found: Sequence[FastestSetting]) -> Iterator[str]:
    """A sentence for each choice among the rows."""
    shared = share_a_device(rows)
    for item in found:
        where = short_device(item)
        if item.row is None:
            yield f"Under {listed(item.under_gb)} GB on {where}: nothing that was measured fits"
            continue
        said = _said(item.row, run=shared)
        if item.exact is not None:
            said += f"; with identical pixels {_said(item.exact, run=shared, pixels=False)}"
        if item.level is not None:
            said += f"; {item.level.costs.setting.memory} is as fast within the spread of its images"
        if item.row.costs.memory_kind is MemoryKind.HOST:
            yield f"Fastest on {where}: {said} (no GPU: memory on a card was not measured)"
        else:
            within = [f"under {listed(item.under_gb)} GB"] if item.under_gb else []
            if item.unlimited:
                within.append("with all of its memory" if item.device.limit_mib is None else "within that limit")
            yield f"Fastest {' and '.join(within)} on {where}: {said}"


def share_a_device(rows: Sequence[ComparedSetting]) -> bool:
    """Whether several runs are of one device, so that a setting must say which it is of."""
    runs: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        runs[str(row.costs.device)].add(row.costs.run)
    return any(len(labels) > 1 for labels in runs.values())


def short_device(item: FastestSetting) -> str:
    """What a choice is for: the card without its maker, and the group where there are several."""
    return f"{bare_name(item.device)}{f' ({item.group})' if item.group else ''}"


def bare_name(device: Device) -> str:
    """A card without its maker."""
    return str(device).removeprefix("NVIDIA ").removeprefix("GeForce ") or "this machine"


def listed(cards: Sequence[int]) -> str:
    """4, 6 and 8."""
    texts = [str(card) for card in cards]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _said(row: ComparedSetting, *, run: bool, pixels: bool = True) -> str:
    """A setting with its time, its memory, and how far its pixels are from the reference's."""
    costs = row.costs
    gib = (costs.memory_mib or 0.0) / 1024
    parts = [f"{costs.setting.memory} ({costs.run})" if run else costs.setting.memory]
    parts.append(seconds(costs.seconds.total or 0.0))
    if costs.memory_kind is MemoryKind.RESERVED:
        parts.append(f"{gib:.1f} GiB (of which {ALLOWANCE_MIB / 1024:.1f} allowed for CUDA itself)")
    elif costs.memory_kind is MemoryKind.DEVICE:
        parts.append(f"{gib:.1f} GiB")
    if pixels:
        parts.append(said_pixels(row))
    if costs.foreign:
        parts.append("other processes were on the card")
    return ", ".join(parts)


def seconds(value: float) -> str:
    """Three digits are enough."""
    return f"{value:.0f} s" if 100 <= value < 1e6 else f"{value:.3g} s"


def said_pixels(row: ComparedSetting) -> str:
    """How far the pixels of a setting are from the reference's."""
    if row.is_reference:
        return "the reference for pixels"
    if row.closeness is None:
        return "pixels not compared"
    if row.is_exact:
        return "identical pixels"
    ssim = "" if row.closeness.ssim_min is None else f", SSIM {row.closeness.ssim_min:.3f}"
    at_worst = " at worst" if row.closeness.compared > 1 else ""
    return f"PSNR {row.closeness.psnr_min:.1f} dB{ssim}{at_worst}"
