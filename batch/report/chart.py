"""compare.csv and compare.html: the table of a comparison, and time against memory as a chart."""

from __future__ import annotations

import math
import re
from html import escape
from importlib import resources
from pathlib import Path

import pandas as pd

from batch.errors import UserError
from batch.report.compare import Comparison, caption, shown
from batch.store import atomic

WIDTH, HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 20, 50
_COLOURS = ("#1d5fbf", "#c4511d", "#2c8a57", "#8a3fae", "#a08000", "#c2325f", "#13848c", "#666")

_KINDS = {
    "peak_device_mib": "peak on the device",
    "peak_reserved_mib": "peak reserved by torch",
    "peak_rss_mib": "peak host memory",
}


def write(folder: Path, comparison: Comparison) -> list[Path]:
    """Write both files into a folder, which is made where it is missing."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; a folder is needed")
    csv, page = folder / "compare.csv", folder / "compare.html"
    atomic.write(csv, comparison.rows.to_csv(index=False, lineterminator="\n").encode())
    atomic.write(page, html(comparison).encode())
    return [csv, page]


def html(comparison: Comparison) -> str:
    """The page: one file, no script, no network."""
    same, cells = shown(comparison)
    cells.insert(0, "#", [str(number) for number in range(1, len(cells) + 1)])
    template = resources.files("batch.report").joinpath("compare.html.template").read_text(encoding="utf-8")
    parts = {
        "TITLE": escape(" / ".join(dict.fromkeys(comparison.rows.run))),
        "COMMON": escape(" · ".join(f"{key} {value}" for key, value in same.items() if value)),
        "CHART": chart(comparison.rows),
        "TABLE": cells.to_html(index=False, border=0, justify="left"),
        "CAPTION": escape(caption(comparison)),
        "NOTES": "".join(f"<li>{escape(note)}</li>" for note in comparison.notes),
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def chart(rows: pd.DataFrame) -> str:
    """Median time of an image against peak memory as SVG; points have the numbers of the table's rows.

    Empty where no kind of memory is known for every row that has a time.
    """
    timed = rows[rows.total_s.notna()]
    kind = next((kind for kind in _KINDS if len(timed) and timed[kind].notna().all()), None)
    if kind is None:
        return ""
    across, up = _ticks(float(timed.total_s.max())), _ticks(float(timed[kind].max()) / 1024)
    runs = list(dict.fromkeys(rows.run))
    parts = [_axes(across, up, _KINDS[kind])]
    for number, row in zip(timed.index + 1, timed.to_dict("records"), strict=True):
        x, y = _x(row["total_s"], across), _y(row[kind] / 1024, up)
        title = f"{row['run']} · {row['model']} {row['size']} · {row['memory']} · {row['device']}"
        parts.append(
            f"<g><title>{escape(title)}: {row['total_s']:.2f} s, {row[kind]:.0f} MiB</title>"
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{_colour(runs, row["run"])}"/>'
            f'<text x="{x + 10:.1f}" y="{y + 4:.1f}">{number}</text></g>'
        )
    legend = "".join(
        f'<span><svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="6" '
        f'fill="{_colour(runs, run)}"/></svg> {escape(run)}</span>'
        for run in runs
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Time against memory">{"".join(parts)}</svg>'
        f'<p class="legend">{legend}</p>'
    )


def _colour(runs: list[str], run: str) -> str:
    return _COLOURS[runs.index(run) % len(_COLOURS)]


def _ticks(largest: float) -> list[float]:
    """Round numbers from 0 to at least ``largest``, about five of them."""
    rough = max(largest, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [step * index for index in range(math.ceil(largest / step * 0.999) + 1)]


def _x(value: float, ticks: list[float]) -> float:
    return _LEFT + value / ticks[-1] * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, ticks: list[float]) -> float:
    return HEIGHT - _BOTTOM - value / ticks[-1] * (HEIGHT - _TOP - _BOTTOM)


def _axes(across: list[float], up: list[float], memory: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in across:
        x = _x(tick, across)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="middle" x="{x:.1f}" y="{bottom + 18}">{tick:g}</text>')
    for tick in up:
        y = _y(tick, up)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>')
    middle = (_TOP + bottom) / 2
    return (
        f'<g class="axes">{"".join(parts)}'
        f'<text class="middle" x="{(_LEFT + right) / 2}" y="{HEIGHT - 10}">seconds an image (median)</text>'
        f'<text class="middle" transform="translate(18 {middle}) rotate(-90)">{memory}, GiB</text></g>'
    )
