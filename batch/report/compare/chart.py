"""Memory against time as SVG: a mark per setting, a colour per GPU, and what ran out of memory at the edge."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from batch.report.compare.costs import ALLOWANCE_MIB, MemoryKind

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.rows import ComparedSetting
    from batch.report.images import ShownSetting

WIDTH, HEIGHT = 820, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 26, 50
_EDGE = 130
"""Width of the strip for what ran out of memory, where there is any."""

_STEP = 22
"""Between the marks of the strip."""

_COLOURS = ("#1d5fbf", "#c4511d", "#2c8a57", "#8a3fae", "#a08000", "#c2325f", "#13848c", "#666")

_KINDS = {
    MemoryKind.DEVICE: "peak on the device",
    MemoryKind.RESERVED: f"peak reserved and {ALLOWANCE_MIB / 1024:g} GiB",
    MemoryKind.HOST: "peak in host memory",
}


def charts(comparison: Comparison) -> str:
    """A chart for each group of settings that are rivals on some card; the same colours in all of them.

    Marks have the numbers of the table. Filled are those that no other setting beats in both. Groups without a
    time and a memory are left out.
    """
    rows = comparison.rows
    devices = dict.fromkeys(str(row.costs.device) for row in rows)
    colours = {device: _COLOURS[at % len(_COLOURS)] for at, device in enumerate(devices)}
    told = [key for key in comparison.by if key != "device" and len({row.costs.key(key) for row in rows}) > 1]
    groups: dict[ShownSetting, list[ComparedSetting]] = defaultdict(list)
    for row in rows:
        groups[row.costs.rivals].append(row)
    parts = []
    for group in groups.values():
        first = group[0].costs
        named = (f"{'' if key in ('model', 'size') else f'{key} '}{first.key(key)}" for key in told)
        parts.append(_chart(group, " ".join(named), colours))
    return "".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A setting that has a time and a memory."""

    row: ComparedSetting
    seconds: float
    gib: float
    kind: MemoryKind

    @property
    def device(self) -> str:
        return str(self.row.costs.device)


def _chart(rows: Sequence[ComparedSetting], title: str, colours: Mapping[str, str]) -> str:
    marks = [
        _Mark(row=row, seconds=costs.seconds.total, gib=costs.memory_mib / 1024, kind=costs.memory_kind)
        for row in rows
        if (costs := row.costs).seconds.total is not None
        and costs.memory_mib is not None
        and costs.memory_kind is not None
    ]
    # Host memory is another thing, and shown where there is nothing else.
    marks = [mark for mark in marks if mark.kind is not MemoryKind.HOST] or marks
    if not marks:
        return ""
    lost = [row for row in rows if row.costs.out_of_memory and row.costs.seconds.total is None]
    right = WIDTH - _RIGHT - (_EDGE if lost else 0)
    frame = _Frame(_ticks(max(mark.seconds for mark in marks)), _ticks(max(mark.gib for mark in marks)), right)
    kinds = [words for kind, words in _KINDS.items() if any(mark.kind is kind for mark in marks)]
    parts = [frame.axes(" / ".join(kinds)), *_frontiers(marks, frame, colours), *_drawn(marks, frame, colours)]
    if lost:
        parts += _strip(lost, right, colours)
    legend = "".join(
        '<span><svg width="12" height="12" aria-hidden="true">'
        f'<circle cx="6" cy="6" r="6" fill="{colours[device]}"/></svg> {escape(device or "unknown device")}</span>'
        for device in dict.fromkeys(str(row.costs.device) for row in (*(mark.row for mark in marks), *lost))
    )
    return (
        f"{f'<h3>{escape(title)}</h3>' if title else ''}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Time against memory">{"".join(parts)}</svg>'
        f'<p class="legend">{legend}</p>'
    )


class _Frame:
    """Where seconds and GiB lie in the picture."""

    def __init__(self, across: Sequence[float], up: Sequence[float], right: float) -> None:
        self.across, self.up, self.right, self.bottom = across, up, right, HEIGHT - _BOTTOM

    def at(self, mark: _Mark) -> tuple[float, float]:
        return self.x(mark.seconds), self.y(mark.gib)

    def x(self, seconds: float) -> float:
        return _LEFT + seconds / self.across[-1] * (self.right - _LEFT)

    def y(self, gib: float) -> float:
        return self.bottom - gib / self.up[-1] * (self.bottom - _TOP)

    def axes(self, memory: str) -> str:
        parts = []
        for tick in self.across:
            x = self.x(tick)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self.bottom}"/>')
            parts.append(f'<text class="middle" x="{x:.1f}" y="{self.bottom + 18}">{tick:g}</text>')
        for tick in self.up:
            y = self.y(tick)
            parts.append(f'<line x1="{_LEFT}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>')
        centre, middle = (_LEFT + self.right) / 2, (_TOP + self.bottom) / 2
        return (
            f'<g class="axes">{"".join(parts)}'
            f'<text class="middle" x="{centre}" y="{HEIGHT - 10}">seconds an image (median)</text>'
            f'<text class="middle" transform="translate(18 {middle}) rotate(-90)">{escape(memory)}, GiB</text></g>'
        )


def _frontiers(marks: Sequence[_Mark], frame: _Frame, colours: Mapping[str, str]) -> Iterator[str]:
    """A stepped line for each card through what no other setting beats: below and left of it there is nothing."""
    best: dict[str, list[_Mark]] = defaultdict(list)
    for mark in marks:
        if mark.row.pareto:
            best[mark.device].append(mark)
    for device, found in best.items():
        points = [frame.at(mark) for mark in sorted(found, key=lambda mark: mark.seconds)]
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
        yield f'<path d="{path}" fill="none" stroke="{colours[device]}" stroke-dasharray="3 3"/>'


_AROUND = ((16, 0), (0, -16), (-16, 0), (0, 17), (15, -13), (-15, -13), (15, 14), (-15, 14))
"""From a mark to where its number may stand."""


def _drawn(marks: Sequence[_Mark], frame: _Frame, colours: Mapping[str, str]) -> Iterator[str]:
    """The marks, and each one's number furthest from others, or at the first place that is far enough."""
    taken = [frame.at(mark) for mark in marks]
    for mark, (x, y) in zip(marks, tuple(taken), strict=True):
        colour = colours[mark.device]
        others = [place for place in taken if place != (x, y)]
        room = {
            place: min((math.dist(place, other) for other in others), default=99.0)
            for place in ((x + right, y + down) for right, down in _AROUND)
        }
        text_x, text_y = next((place for place, far in room.items() if far >= 15), max(room, key=room.__getitem__))
        taken.append((text_x, text_y))
        yield (
            f"<g><title>{escape(_title(mark.row))}: {mark.seconds:.2f} s, {mark.gib:.2f} GiB</title>"
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour if mark.row.pareto else "transparent"}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<text class="middle" x="{text_x:.1f}" y="{text_y + 4:.1f}">{mark.row.number}</text></g>'
        )


def _title(row: ComparedSetting) -> str:
    return f"{row.costs.run} · {row.costs.setting.memory} · {row.costs.device}"


def _strip(lost: Sequence[ComparedSetting], right: float, colours: Mapping[str, str]) -> Iterator[str]:
    """Settings that ran out of memory have neither time nor peak: they stand beside the axes."""
    bottom = HEIGHT - _BOTTOM
    left = right + 14
    yield (
        f'<rect class="edge" x="{left}" y="{_TOP}" width="{WIDTH - _RIGHT - left}" height="{bottom - _TOP}"/>'
        f'<text class="middle" x="{(left + WIDTH - _RIGHT) / 2}" y="{_TOP - 8}">out of memory</text>'
    )
    columns = max(1, math.ceil(len(lost) * _STEP / (bottom - _TOP - 10)))
    rows_each = math.ceil(len(lost) / columns)
    for at, row in enumerate(lost):
        x = left + 14 + at // rows_each * (_EDGE - 30) / columns
        y = _TOP + 18 + at % rows_each * _STEP
        yield (
            f"<g><title>{escape(_title(row))}: {escape(row.costs.outcome)}</title>"
            f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" stroke="{colours[str(row.costs.device)]}" '
            f'stroke-width="3"/><text x="{x + 10:.1f}" y="{y + 4:.1f}">{row.number}</text></g>'
        )


def _ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least ``largest``, about five of them."""
    largest = min(max(largest, 1e-6), 1e300)  # seconds of somebody else's files may add up to infinity
    rough = largest / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * index for index in range(math.ceil(largest / step * 0.999) + 1)]
