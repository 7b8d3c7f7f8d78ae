"""Memory against time as SVG: a mark per setting, a colour per GPU, and what ran out of memory at the edge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

import pandas as pd

from batch.report.compare import choice
from batch.report.compare.comparison import Comparison

WIDTH, HEIGHT = 820, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 26, 50
_EDGE = 130
"""Width of the strip for what ran out of memory, where there is any."""

_STEP = 22
"""Between the marks of the strip."""

_COLOURS = ("#1d5fbf", "#c4511d", "#2c8a57", "#8a3fae", "#a08000", "#c2325f", "#13848c", "#666")

_KINDS = {
    choice.DEVICE: "peak on the device",
    choice.RESERVED: f"peak reserved and {choice.ALLOWANCE_MIB / 1024:g} GiB",
    choice.HOST: "peak in host memory",
}


def charts(comparison: Comparison) -> str:
    """A chart for each group of settings that are rivals on some card; the same colours in all of them.

    Marks have the numbers of the table. Filled are those that no other setting beats in both. Groups without a
    time and a memory are left out.
    """
    rows = comparison.rows
    colours = {device: _COLOURS[at % len(_COLOURS)] for at, device in enumerate(dict.fromkeys(rows.device))}
    by = [key for key in comparison.by if key != "device"]
    told = [key for key in by if rows[key].nunique(dropna=False) > 1]
    parts = []
    for key, group in rows.groupby(by, sort=False, dropna=False):
        named = dict(zip(by, key, strict=True))
        title = " ".join(
            str(named[name]) if name in ("model", "size") else f"{name} {named[name]}" for name in told
        )
        parts.append(_chart(group, title, colours))
    return "".join(parts)


def _chart(rows: pd.DataFrame, title: str, colours: dict[str, str]) -> str:
    timed = rows[rows.total_s.notna() & rows.memory_mib.notna()]
    if (timed.memory_kind != choice.HOST).any():
        timed = timed[timed.memory_kind != choice.HOST]  # host memory is another thing
    if timed.empty:
        return ""
    lost = rows[(rows.out_of_memory > 0) & rows.total_s.isna()]
    right = WIDTH - _RIGHT - (_EDGE if len(lost) else 0)
    frame = _Frame(_ticks(float(timed.total_s.max())), _ticks(float(timed.memory_mib.max()) / 1024), right)
    kinds = [words for kind, words in _KINDS.items() if (timed.memory_kind == kind).any()]
    parts = [frame.axes(" / ".join(kinds)), *_frontiers(timed, frame, colours), *_marks(timed, frame, colours)]
    if len(lost):
        parts += _strip(lost, right, colours)
    shown = dict.fromkeys([*timed.device, *lost.device])
    return (
        f"{f'<h3>{escape(title)}</h3>' if title else ''}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Time against memory">{"".join(parts)}</svg>'
        f'<p class="legend">{"".join(_legend(device, colours[device]) for device in shown)}</p>'
    )


def _legend(device: str, colour: str) -> str:
    return (
        '<span><svg width="12" height="12" aria-hidden="true">'
        f'<circle cx="6" cy="6" r="6" fill="{colour}"/></svg> '
        f"{escape(device or 'unknown device')}</span>"
    )


class _Frame:
    """Where seconds and GiB lie in the picture."""

    def __init__(self, across: Sequence[float], up: Sequence[float], right: float) -> None:
        self.across, self.up, self.right, self.bottom = across, up, right, HEIGHT - _BOTTOM

    def at(self, row: Any) -> tuple[float, float]:
        return self.x(row["total_s"]), self.y(row["memory_mib"] / 1024)

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


def _frontiers(timed: pd.DataFrame, frame: _Frame, colours: dict[str, str]) -> Iterator[str]:
    """A stepped line for each card through what no other setting beats: below and left of it there is nothing."""
    for device, best in timed[timed.pareto].groupby("device", sort=False):
        points = [frame.at(row) for row in best.sort_values("total_s").to_dict("records")]
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in points[1:])
        yield f'<path d="{path}" fill="none" stroke="{colours[str(device)]}" stroke-dasharray="3 3"/>'


def _marks(timed: pd.DataFrame, frame: _Frame, colours: dict[str, str]) -> Iterator[str]:
    taken = [frame.at(row) for row in timed.to_dict("records")]
    for (x, y), number, row in zip(tuple(taken), timed.index + 1, timed.to_dict("records"), strict=True):
        colour = colours[row["device"]]
        text_x, text_y = _free(x, y, taken)
        taken.append((text_x, text_y))
        yield (
            f"<g><title>{escape(_title(row))}: {row['total_s']:.2f} s, {row['memory_mib'] / 1024:.2f} GiB</title>"
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour if row["pareto"] else "transparent"}" '
            f'stroke="{colour}" stroke-width="2"/>'
            f'<text class="middle" x="{text_x:.1f}" y="{text_y + 4:.1f}">{number}</text></g>'
        )


_AROUND = ((16, 0), (0, -16), (-16, 0), (0, 17), (15, -13), (-15, -13), (15, 14), (-15, 14))


def _free(x: float, y: float, taken: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Where a mark's number is furthest from other marks and numbers, the first place that is far enough."""
    others = [place for place in taken if place != (x, y)]
    room = {
        (x + right, y + down): min((math.dist((x + right, y + down), place) for place in others), default=99.0)
        for right, down in _AROUND
    }
    return next((place for place, far in room.items() if far >= 15), max(room, key=lambda place: room[place]))


def _title(row: Any) -> str:
    return f"{row['run']} · {row['memory']} · {row['device']}"


def _strip(lost: pd.DataFrame, right: float, colours: dict[str, str]) -> Iterator[str]:
    """Settings that ran out of memory have neither time nor peak: they stand beside the axes."""
    bottom = HEIGHT - _BOTTOM
    left = right + 14
    yield (
        f'<rect class="edge" x="{left}" y="{_TOP}" width="{WIDTH - _RIGHT - left}" height="{bottom - _TOP}"/>'
        f'<text class="middle" x="{(left + WIDTH - _RIGHT) / 2}" y="{_TOP - 8}">out of memory</text>'
    )
    columns = max(1, math.ceil(len(lost) * _STEP / (bottom - _TOP - 10)))
    rows_each = math.ceil(len(lost) / columns)
    for at, (number, row) in enumerate(zip(lost.index + 1, lost.to_dict("records"), strict=True)):
        x = left + 14 + at // rows_each * (_EDGE - 30) / columns
        y = _TOP + 18 + at % rows_each * _STEP
        yield (
            f"<g><title>{escape(_title(row))}: {escape(row['outcome'])}</title>"
            f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" stroke="{colours[row["device"]]}" '
            f'stroke-width="3"/><text x="{x + 10:.1f}" y="{y + 4:.1f}">{number}</text></g>'
        )


def _ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least ``largest``, about five of them."""
    rough = max(largest, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * index for index in range(math.ceil(largest / step * 0.999) + 1)]
