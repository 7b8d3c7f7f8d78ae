"""Which setting to take, in the sentences a person wants."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind
from batch.report.compare.naming import named, told_by_run

if TYPE_CHECKING:
    from batch.report.compare.choice import FastestSetting
    from batch.report.compare.costs import Device
    from batch.report.compare.rows import ComparedSetting


def sentences(rows: Sequence[ComparedSetting], found: Sequence[FastestSetting]) -> Iterator[str]:
    """A sentence for each choice among the rows."""
    by_run = told_by_run(rows)
    for item in found:
        where = short_device(item)
        if item.row is None:
            yield f"Under {listed(item.under_gb)} GB on {where}: nothing that was measured fits"
            continue
        said = _said(item.row, by_run)
        if item.exact is not None:
            said += f"; with identical pixels {_said(item.exact, by_run, pixels=False)}"
        if item.level is not None:
            level = named(item.level, run=item.level.index in by_run)
            said += f"; {level} is as fast within the spread of its images"
        if item.row.costs.memory_kind is MemoryKind.HOST:
            yield f"Fastest on {where}: {said} (no GPU: memory on a card was not measured)"
        else:
            within = [f"under {listed(item.under_gb)} GB"] if item.under_gb else []
            if item.unlimited:
                within.append("with all of its memory" if item.device.limit_mib is None else "within that limit")
            yield f"Fastest {' and '.join(within)} on {where}: {said}"


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


def _said(row: ComparedSetting, by_run: Container[int], *, pixels: bool = True) -> str:
    """A setting with its time, its memory, and how far its pixels are from the reference's."""
    costs = row.costs
    gib = (costs.memory_mib or 0.0) / 1024
    parts = [named(row, run=row.index in by_run), seconds(costs.seconds.total or 0.0)]
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
