"""A comparison as tables for people, in the terminal and on the page: time, memory, pixels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.memory.footprint import KEPT_BY_DRIVER
from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.costs import Device
    from batch.report.compare.rows import ComparedSetting
    from batch.report.images import ShownSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One setting: its number, what it is, its figures, and in words what became of what is missing."""

    number: int
    mark: str
    named: tuple[str, ...]
    figures: tuple[str, ...]
    """Empty where there are none."""
    words: str = ""
    best: frozenset[int] = frozenset()
    """Which of its figures no rival on that device betters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table. ``blocks`` are headings, empty where there is one block, with the lines below."""

    title: str
    about: str
    named: tuple[str, ...]
    figures: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """What one section says of a row."""

    row: ComparedSetting
    cells: Mapping[str, str]
    """By the title of their column."""
    measured: bool
    """There is more in the cells than zeroes and blanks."""
    words: str = ""


UNKNOWN = "-"

_LONG = 1e6
"""Seconds from which on a number is written in short: no picture takes eleven days."""

_SMALLER = {
    "encode", "denoise", "decode", "save", "total", "Wh", "allocated", "reserved", "device", "host", "in encode",
    "in denoise", "in decode", "max diff",
}  # fmt: skip
_LARGER = {"images/h", "identical", "PSNR", "min PSNR", "SSIM", "min SSIM"}
"""Columns in which a figure is the better the smaller, or the larger, it is."""

_NOISE = {"PSNR", "min PSNR", "SSIM", "min SSIM"}
"""Of these, what pictures with the reference's pixels do not have."""

_STAGE_KINDS = {"device": "on the device", "reserved": "reserved", "rss": "in host memory"}
"""Kinds of memory by stage, of which the first that is known is shown: the best measured one."""


def common(comparison: Comparison) -> dict[str, str]:
    """What all rows share."""
    values = {key: {str(row.costs.key(key)) for row in comparison.rows} for key in ("run", *comparison.by)}
    return {key: min(found) for key, found in values.items() if len(found) == 1}


def heading(comparison: Comparison) -> str:
    """What all rows share, in one line."""
    return " · ".join(f"{key} {value}" for key, value in common(comparison).items() if value)


def sections(comparison: Comparison) -> list[Section]:
    """The tables that hold anything; the one about pixels only where some were compared."""
    rows = comparison.rows
    all_timed = all(row.costs.timed == row.costs.images for row in rows)
    stages = [stage for row in rows for stage in (row.costs.encode, row.costs.denoise, row.costs.decode)]
    known = [kind for kind in _STAGE_KINDS if any(getattr(stage, kind) is not None for stage in stages)]
    kind = known[0] if known else "rss"
    times, memory = [_time(row, all_timed=all_timed) for row in rows], [_memory(row, kind) for row in rows]
    found = [
        _section(comparison, "Time", "median seconds of an image, warm-up left out", times),
        _section(comparison, "Memory", f"largest peaks, GiB; by stage {_STAGE_KINDS[kind]}", memory),
    ]
    if any(row.closeness for row in rows):
        about = "against the reference; of those not identical the largest difference (of 255), PSNR in dB, SSIM"
        found.append(_section(comparison, "Pixels", about, [_pixels(row) for row in rows]))
    return [section for section in found if section.blocks]


def _time(row: ComparedSetting, *, all_timed: bool) -> _Figures:
    costs, seconds = row.costs, row.costs.seconds
    counts = {"images": str(costs.images)} | ({} if all_timed else {"timed": str(costs.timed)})
    cells = counts | {
        "encode": _seconds(seconds.encode),
        "denoise": _seconds(seconds.denoise),
        "decode": _seconds(seconds.decode),
        "save": _seconds(seconds.save),
        "total": _seconds(seconds.total),
        "from": _seconds(costs.total_min_s),
        "to": _seconds(costs.total_max_s),
        "images/h": _fixed(costs.images_per_hour, 1),
        "MP/s": _fixed(costs.mp_per_s, 2),
        "Wh": _fixed(costs.wh_per_image, 2),
    }
    return _Figures(row=row, cells=cells, measured=costs.images > 0, words=costs.outcome)


def _memory(row: ComparedSetting, kind: str) -> _Figures:
    costs = row.costs
    peaks = {
        "allocated": costs.peaks.allocated,
        "reserved": costs.peaks.reserved,
        "device": costs.peaks.device,
        "host": costs.peaks.rss,
        "in encode": getattr(costs.encode, kind),
        "in denoise": getattr(costs.denoise, kind),
        "in decode": getattr(costs.decode, kind),
    }
    cells = {title: _fixed(None if mib is None else mib / 1024, 2) for title, mib in peaks.items()}
    return _Figures(row=row, cells=cells, measured=any(mib is not None for mib in peaks.values()))


def _pixels(row: ComparedSetting) -> _Figures:
    close = row.closeness
    titles = ("compared", "with", "identical", "max diff", "PSNR", "min PSNR", "SSIM", "min SSIM")
    if close is None:
        words = "the reference" if row.is_reference else ""
        return _Figures(row=row, cells=dict.fromkeys(titles, UNKNOWN), measured=False, words=words)
    cells = (
        str(close.compared),
        ", ".join(row.compared_with),
        f"{close.identical:.0%}" if close.identical in (0, 1) else f"{close.identical:.1%}",
        str(close.max_diff),
        _fixed(close.psnr_mean, 1),
        _fixed(close.psnr_min, 1),
        _fixed(close.ssim_mean, 4),
        _fixed(close.ssim_min, 4),
    )
    return _Figures(row=row, cells=dict(zip(titles, cells, strict=True)), measured=True)


def _seconds(value: float | None) -> str:
    if value is not None and value >= _LONG:
        return f"{value:.3g}"
    return _fixed(value, 2 if value is not None and value < 100 else 0)


def _fixed(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _section(comparison: Comparison, title: str, about: str, found: Sequence[_Figures]) -> Section:
    """A table; a row without figures and words has no line in it, and a column without any is left out."""
    same = common(comparison)
    keys = [key for key in comparison.by if key not in same and key != "device"]
    titles = found[0].cells if found else ()
    kept = [name for name in titles if any(item.cells[name] != UNKNOWN for item in found)]
    best = {name: _best(name, found) for name in kept}
    blocks: dict[str, list[Line]] = {}
    for item in found:
        costs = item.row.costs
        if item.measured or item.words:
            head = ", ".join(filter(None, (str(costs.key(key)) for key in ("run", "device") if key not in same)))
            line = Line(
                number=item.row.number,
                mark="*" * item.row.pareto + "!" * bool(costs.foreign),
                named=(*(str(costs.key(key)) for key in keys), costs.setting.memory),
                figures=tuple(item.cells[name] for name in kept) if item.measured else (),
                words=item.words,
                best=frozenset(at for at, name in enumerate(kept) if item.row.index in best[name]),
            )
            blocks.setdefault(head, []).append(line)
    return Section(
        title=title,
        about=about,
        named=(*keys, "memory"),
        figures=tuple(kept),
        blocks=tuple((head, tuple(lines)) for head, lines in blocks.items()),
    )


def _best(name: str, found: Sequence[_Figures]) -> set[int]:
    """Rows that have the best figure of a column among rivals on their device, as it is shown.

    None where all have the same, and none in a column of noise where some have no noise.
    """
    better = min if name in _SMALLER else max if name in _LARGER else None
    groups: dict[tuple[Device, ShownSetting], dict[int, float]] = defaultdict(dict)
    for item in found if better else ():
        text = item.cells[name]
        if text != UNKNOWN and not item.row.costs.failed and not item.row.costs.setting.degraded_from:
            groups[item.row.costs.device, item.row.costs.rivals][item.row.index] = float(text.rstrip("%"))
        elif name in _NOISE and item.measured:
            groups[item.row.costs.device, item.row.costs.rivals][item.row.index] = math.inf
    chosen = set()
    for of_group in groups.values():
        values = set(of_group.values())
        if better and len(values) > 1 and math.isfinite(best := better(values)):
            chosen |= {index for index, value in of_group.items() if value == best}
    return chosen


def legend(comparison: Comparison) -> list[str]:
    """What the marks mean, as far as they are there, and what is a card's size."""
    rows = comparison.rows
    found = []
    if any(row.pareto for row in rows):
        host = all(row.costs.memory_kind is MemoryKind.HOST for row in rows)
        found.append(f"* no other setting is faster and smaller{' (in host memory)' if host else ''}")
    if any(row.costs.foreign for row in rows):
        found.append("! other processes were on the card")
    if any(row.costs.images_per_hour is not None for row in rows):
        found.append("images/h is an hour over the total; a run saves behind the next image and may be faster")
    if any(item.under_gb for item in comparison.choices):
        found.append(
            f"“under N GB”: device memory, or else reserved and {ALLOWANCE_MIB / 1024:g} GiB, is no more than N "
            f"GiB less the {KEPT_BY_DRIVER:.0%} that no process gets"
        )
    return found
