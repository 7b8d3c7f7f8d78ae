"""A comparison as tables for people, in the terminal and on the page: time, memory, pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from batch.memory.footprint import CONTEXT, KEPT_BY_DRIVER
from batch.report.compare.choice import HOST
from batch.report.compare.comparison import Comparison

WRAP = 36
"""Characters of a cell that names something; a longer one goes on in the next line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One setting: its number, what it is, its figures, and in words what became of what is missing."""

    number: int
    mark: str
    named: tuple[str, ...]
    figures: tuple[str, ...]
    """Empty where there are none."""
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table. ``blocks`` are headings, empty where there is one block, with the lines below."""

    title: str
    about: str
    named: tuple[str, ...]
    figures: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    name: str
    show: Callable[[Any], str]


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _gib(value: float) -> str:
    return f"{value / 1024:.2f}"


def _share(value: float) -> str:
    return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"


def _fixed(digits: int) -> Callable[[Any], str]:
    return lambda value: f"{value:.{digits}f}"


_TIME = (
    _Column("images", "images", str),
    _Column("timed", "timed", str),
    _Column("encode", "encode_s", _seconds),
    _Column("denoise", "denoise_s", _seconds),
    _Column("decode", "decode_s", _seconds),
    _Column("save", "save_s", _seconds),
    _Column("total", "total_s", _seconds),
    _Column("from", "total_min_s", _seconds),
    _Column("to", "total_max_s", _seconds),
    _Column("images/h", "images_per_hour", _fixed(1)),
    _Column("MP/s", "mp_per_s", _fixed(2)),
    _Column("Wh", "wh_per_image", _fixed(2)),
)
_MEMORY = (
    _Column("allocated", "peak_allocated_mib", _gib),
    _Column("reserved", "peak_reserved_mib", _gib),
    _Column("device", "peak_device_mib", _gib),
    _Column("host", "peak_rss_mib", _gib),
)
_STAGES = ("encode", "denoise", "decode")
_PIXELS = (
    _Column("compared", "compared", str),
    _Column("with", "compared_with", str),
    _Column("identical", "identical", _share),
    _Column("max diff", "max_diff", str),
    _Column("PSNR", "psnr_mean", _fixed(1)),
    _Column("min PSNR", "psnr_min", _fixed(1)),
    _Column("SSIM", "ssim_mean", _fixed(4)),
    _Column("min SSIM", "ssim_min", _fixed(4)),
)


def common(comparison: Comparison) -> dict[str, str]:
    """What all rows share."""
    rows = comparison.rows
    return {
        key: str(rows[key].iloc[0])
        for key in ("run", *comparison.by)
        if len(rows) and rows[key].nunique(dropna=False) == 1
    }


def heading(comparison: Comparison) -> str:
    """What all rows share, in one line."""
    return " · ".join(f"{key} {value}" for key, value in common(comparison).items() if value)


def sections(comparison: Comparison) -> list[Section]:
    """The tables; the one about pixels only where some were compared."""
    rows = comparison.rows
    memory = (*_MEMORY, *_by_stage(rows))
    found = [
        _section(comparison, _TIME, "Time", "median seconds of an image, warm-up left out", _outcome),
        _section(comparison, memory, "Memory", f"largest peaks, GiB; by stage {_stage_words(rows)}", _nothing),
    ]
    if rows.compared.notna().any():
        about = "against the reference; of those not identical the largest difference (of 255), PSNR in dB, SSIM"
        found.append(_section(comparison, _PIXELS, "Pixels", about, _reference))
    return found


def _outcome(row: Any) -> str:
    return str(row["outcome"])


def _nothing(_row: Any) -> str:
    return ""


def _reference(row: Any) -> str:
    return "the reference" if row["is_reference"] and pd.isna(row["compared"]) else ""


def _by_stage(rows: pd.DataFrame) -> Iterator[_Column]:
    kind = _stage_kind(rows)
    return (_Column(f"in {stage}", f"{stage}_{kind}_mib", _gib) for stage in _STAGES)


def _stage_kind(rows: pd.DataFrame) -> str:
    """The best measured kind of memory that is known for the stages."""
    kinds = ("device", "reserved", "rss")
    return next(
        (kind for kind in kinds if rows[[f"{s}_{kind}_mib" for s in _STAGES]].notna().any(axis=None)), "rss"
    )


def _stage_words(rows: pd.DataFrame) -> str:
    words = {"device": "on the device", "reserved": "reserved", "rss": "in host memory"}
    return words[_stage_kind(rows)]


def _section(
    comparison: Comparison, columns: Sequence[_Column], title: str, about: str, words: Callable[[Any], str]
) -> Section:
    """A table; a row without figures and words has no line in it."""
    rows, same = comparison.rows, common(comparison)
    kept = [column for column in columns if rows[column.name].notna().any()]
    if (rows.timed == rows.images).all():
        kept = [column for column in kept if column.name != "timed"]
    keys = [key for key in comparison.by if key not in same and key != "device"]
    blocks: dict[str, list[Line]] = {}
    for number, row in enumerate(rows.to_dict("records"), start=1):
        at = [str(row[key]) for key in ("run", "device") if key not in same]
        figures = tuple(_cell(column, row[column.name]) for column in kept)
        line = Line(
            number=number,
            mark="*" * bool(row["pareto"]) + "!" * bool(row["foreign"]),
            named=(*(str(row[key]) for key in keys), str(row["memory"])),
            figures=figures if any(figure.strip("-0") for figure in figures) else (),
            words=words(row),
        )
        if line.figures or line.words:
            blocks.setdefault(", ".join(filter(None, at)), []).append(line)
    return Section(
        title=title,
        about=about,
        named=(*keys, "memory"),
        figures=tuple(column.title for column in kept),
        blocks=tuple((head, tuple(lines)) for head, lines in blocks.items()),
    )


def _cell(column: _Column, value: Any) -> str:
    return "-" if pd.isna(value) or value == "" else column.show(value)


def legend(comparison: Comparison) -> list[str]:
    """What the marks mean, as far as they are there, and what is a card's size."""
    rows = comparison.rows
    found = []
    if rows.pareto.any():
        host = " (in host memory)" if (rows.memory_kind == HOST).all() else ""
        found.append(f"* no other setting is faster and smaller{host}")
    if (rows.foreign > 0).any():
        found.append("! other processes were on the card")
    if rows.images_per_hour.notna().any():
        found.append("images/h is an hour over the total; a run saves behind the next image and may be faster")
    if any(item.under_gb for item in comparison.choices):
        found.append(
            f"“under N GB”: device memory, or else reserved and {CONTEXT / 2**30:g} GiB, is no more than N GiB "
            f"less the {KEPT_BY_DRIVER:.0%} that no process gets"
        )
    return found


# In the terminal


def text(comparison: Comparison) -> str:
    """What ``compare`` prints."""
    if comparison.rows.empty:
        return "\n".join(["nothing has been rendered in these runs", *comparison.notes])
    lines = [heading(comparison)]
    for section in sections(comparison):
        lines += ["", f"{section.title}: {section.about}", *_aligned(section)]
    lines += ["", *legend(comparison)]
    if comparison.notes:
        lines += ["", *(f"- {note}" for note in comparison.notes)]
    if comparison.sentences:
        lines += ["", *comparison.sentences]
    return "\n".join(lines).strip()


def _aligned(section: Section) -> Iterator[str]:
    head = ("#", *section.named)
    lines = [line for _, block in section.blocks for line in block]
    named = {line.number: _wrapped((f"{line.number}{line.mark}", *line.named)) for line in lines}
    left = _widths([head, *(cells for rows in named.values() for cells in rows)])
    right = _widths([section.figures, *(line.figures for line in lines if line.figures)])
    yield _row(head, section.figures, left, right)
    for title, block in section.blocks:
        if title:
            yield f"  {title}"
        for line in block:
            first, *rest = named[line.number]
            yield _row(first, line.figures or (line.words,), left, right if line.figures else [0])
            yield from (_row(cells, (), left, []) for cells in rest)
            if line.figures and line.words:
                yield f"  {' ' * left[0]}  {line.words}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _row(named: Iterable[str], figures: Iterable[str], left: Sequence[int], right: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(named, left, strict=True)]
    cells += [cell.rjust(width) for cell, width in zip(figures, right, strict=False)]
    return f"  {'  '.join(cells)}".rstrip()


def _wrapped(named: Sequence[str]) -> list[tuple[str, ...]]:
    """The cells in as many lines as the last one, the memory setting, needs: a step is never divided."""
    lines = [""]
    for part in _parts(named[-1]):
        if lines[-1] and len(lines[-1]) + len(part) > WRAP:
            lines.append("")
        lines[-1] += part
    blank = ("",) * (len(named) - 1)
    return [(*(named[:-1] if not index else blank), line.strip()) for index, line in enumerate(lines)]


def _parts(setting: str) -> list[str]:
    """``a + b (degraded from c)`` as ``a +``, `` b``, `` (degraded from c)``."""
    return setting.replace(" + ", " +\n ").replace(" (degraded", "\n (degraded").split("\n")
