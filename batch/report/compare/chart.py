"""Memory against time: a mark per setting, a shape and a colour per GPU. Plain data, which the page draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.memory.footprint import KEPT_BY_DRIVER
from batch.report.compare.choice import told_keys
from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind
from batch.report.compare.layout import Mark, layouts, small
from batch.report.compare.naming import told_by_run
from batch.report.compare.sentences import said_pixels

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.layout import Layout
    from batch.report.compare.rows import ComparedSetting
    from batch.report.images import ShownSetting

TONES = 8
"""Colours of the page's styles."""

SHAPES = (
    "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0z",
    "M-5.5-5.5h11v11h-11z",
    "M0-7L7 5.5H-7z",
    "M0-7.5L7.5 0L0 7.5L-7.5 0z",
    "M0 7L7-5.5H-7z",
    "M0-7L6.7-2.2L4.1 5.7H-4.1L-6.7-2.2z",
    "M-2.3-6.5h4.6v4.2h4.2v4.6h-4.2v4.2h-4.6v-4.2h-4.2v-4.6h4.2z",
)
"""Around their middle: circle, square, triangle, diamond, triangle downwards, pentagon, cross. One less than
colours, so that more devices look different than there are of either."""

_KINDS = {
    MemoryKind.DEVICE: "peak on the device",
    MemoryKind.RESERVED: f"peak reserved and {ALLOWANCE_MIB / 1024:g} GiB",
    MemoryKind.HOST: "peak in host memory",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkLook:
    """How the marks of a device look."""

    tone: int
    shape: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A group of settings that are rivals on some card."""

    title: str
    """What tells it from the other charts; empty where there is one."""
    memory: str
    """Which memory goes up."""
    layouts: tuple[Layout, ...]
    looks: Mapping[str, MarkLook]
    """By the names of its devices; the same device looks the same in all charts."""
    legend: tuple[tuple[str, str], ...]
    """Kinds of marks and lines, and what they mean, as far as they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What the charts of a page have in common."""

    looks: Mapping[str, MarkLook]
    """By the names of devices."""
    kinds: Mapping[str, str]
    """Kinds of marks and lines, and what they mean."""


_KINDS_OF_MARKS = ("filled", "hollow", "crossed", "steps", "card", "")
"""In the order of the legend."""

MANY = 3
"""So many charts are small ones side by side."""


def charts(comparison: Comparison) -> list[Chart]:
    """A chart for each group of settings that are rivals on some card.

    Marks have the numbers of the tables. Filled are those that no other setting beats in both. Groups without a
    time and a memory are left out.
    """
    rows = comparison.rows
    devices = dict.fromkeys(str(row.costs.device) for row in rows)
    looks = {name: MarkLook(tone=at % TONES, shape=SHAPES[at % len(SHAPES)]) for at, name in enumerate(devices)}
    told = told_keys([row.costs for row in rows], comparison.by)
    groups: dict[ShownSetting, list[ComparedSetting]] = defaultdict(list)
    for row in rows:
        groups[row.costs.rivals].append(row)
    kept = [group for group in groups.values() if any(map(_is_known, group))]
    found = []
    for group in kept:
        first = group[0].costs
        title = " ".join(f"{'' if key in ('model', 'size') else f'{key} '}{first.key(key)}" for key in told)
        found.append(_chart(group, title, looks, among_many=len(kept) >= MANY))
    return found


def key_of(found: Sequence[Chart]) -> Key:
    """What looks and marks mean, once for all charts."""
    looks = {device: look for chart in found for device, look in chart.looks.items()}
    kinds = {kind: words for chart in found for kind, words in chart.legend}
    return Key(looks=looks, kinds={kind: kinds[kind] for kind in _KINDS_OF_MARKS if kind in kinds})


def _is_known(row: ComparedSetting) -> bool:
    return row.costs.seconds.total is not None and row.costs.memory_kind is not None


def _chart(
    rows: Sequence[ComparedSetting], title: str, looks: Mapping[str, MarkLook], *, among_many: bool
) -> Chart:  # fmt: skip
    known = [row for row in rows if _is_known(row)]
    # Host memory is another thing, and shown where there is nothing else.
    shown = [row for row in known if row.costs.memory_kind is not MemoryKind.HOST] or known
    lost = [row for row in rows if row.costs.out_of_memory and row.costs.seconds.total is None]
    by_run = told_by_run(rows)
    marks = [*(_mark(row, by_run) for row in shown), *(_lost(row, by_run) for row in lost)]
    kinds = {row.costs.memory_kind for row in shown}
    drawn = (small if among_many else layouts)(marks, cards=MemoryKind.HOST not in kinds)
    return Chart(
        title=title,
        memory=" / ".join(words for kind, words in _KINDS.items() if kind in kinds),
        layouts=drawn,
        looks={device: look for device, look in looks.items() if any(mark.device == device for mark in marks)},
        legend=tuple(_legend(marks, drawn)),
    )


def _mark(row: ComparedSetting, by_run: Container[int]) -> Mark:
    seconds, gib = row.costs.seconds.total or 0.0, (row.costs.memory_mib or 0.0) / 1024
    figures = f"{seconds:.2f} s, {gib:.2f} GiB, {said_pixels(row)}"
    return Mark(
        number=row.number,
        device=str(row.costs.device),
        title=f"{_named(row, by_run)}: {figures}",
        seconds=seconds,
        gib=gib,
        best=row.pareto,
    )


def _lost(row: ComparedSetting, by_run: Container[int]) -> Mark:
    title = f"{_named(row, by_run)}: {row.costs.outcome}"
    return Mark(number=row.number, device=str(row.costs.device), title=title, lost=True)


def _named(row: ComparedSetting, by_run: Container[int]) -> str:
    run = row.costs.run if row.index in by_run else ""
    return " · ".join(filter(None, (run, row.costs.setting.memory, str(row.costs.device))))


def _legend(marks: Sequence[Mark], drawn: Sequence[Layout]) -> Iterator[tuple[str, str]]:
    if any(mark.best for mark in marks):
        yield "filled", "no other setting of its card is faster and smaller"
    if any(not mark.best and not mark.lost for mark in marks):
        yield "hollow", "another one is both, or images of it failed"
    if any(mark.lost for mark in marks):
        yield "crossed", "ran out of memory"
    if any(len(frontier.points) > 1 for frontier in drawn[0].frontiers):
        yield "steps", "what can be had on that card: nothing lies below and left of it"
    if drawn[0].cards:
        yield "card", f"what a card of that size holds, less the {KEPT_BY_DRIVER:.0%} that no process gets"
    if any(spot.number is None for layout in drawn for spot in layout.spots):
        yield "", "a mark without a number had no room for one: choose it"
