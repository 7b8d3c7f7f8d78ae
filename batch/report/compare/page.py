"""What ``compare --out`` writes: compare.csv, compare.html, and where each setting's worst picture differs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from batch.base import atomic
from batch.base.disk import must_be_writable
from batch.base.errors import UserError
from batch.report.compare.answers import answers, headlines, unmeasured
from batch.report.compare.chart import charts, key_of
from batch.report.compare.overall import overalls
from batch.report.compare.pixels import NOT_INSTALLED, has_ssim
from batch.report.compare.rows import frame
from batch.report.compare.tables import heading, legend, sections
from batch.report.compare.worst import FOLDER, worst_pictures
from batch.report.page.document import document
from batch.report.table import as_csv

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.rows import ComparedSetting
    from batch.report.compare.tables import Line, Section
    from batch.report.compare.worst import Three, WorstPicture


MOST_NAMED = 4
"""Runs in the heading of the page."""


def write(folder: Path, comparison: Comparison) -> list[Path]:
    """Write everything into a folder, which is made where it is missing.

    Raises :class:`UserError` where that cannot be, or something else would be written over.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"--out {folder} is a file; a folder is needed") from None
    except OSError as error:
        raise UserError(f"--out {folder} cannot be made: {error.strerror or error}") from None
    csv, page = folder / "compare.csv", folder / "compare.html"
    for path, mark in ((csv, b",denoise_s,"), (page, b"run_batch compare</title>")):
        _check_place(path, mark)
    worst = worst_pictures(comparison.rows)
    with must_be_writable(folder):
        for item in worst:
            atomic.write(folder / item.path, _png(item))
        atomic.write(csv, as_csv(table(comparison, worst)))
        atomic.write(page, html(comparison, worst, folder).encode("utf-8", "backslashreplace"))
    return [csv, page, *([folder / FOLDER] if worst else [])]


_HEAD = 4_096
"""Bytes of a file of ours in which its mark stands."""


def _check_place(path: Path, mark: bytes) -> None:
    """Raise :class:`UserError` where something else lies than an older comparison."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file belongs there; name another folder with --out")
    if not path.is_file():
        return
    with path.open("rb") as file:
        if mark not in file.read(_HEAD):
            raise UserError(f"{path} is no comparison of run_batch, and stays; name another folder with --out")


def _png(item: WorstPicture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(item.shown.pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(comparison: Comparison, worst: Sequence[WorstPicture]) -> pd.DataFrame:
    """compare.csv: the rows as they are, numbered as everywhere, with the file of their differences."""
    rows = frame(comparison.rows, comparison.keys)
    if not has_ssim():
        differing = rows.compared.notna() & (rows.identical < 1)
        for name in ("ssim_mean", "ssim_min"):
            rows[name] = rows[name].astype("object").mask(differing, NOT_INSTALLED)
    files = {item.row.index: item.path for item in worst}
    rows["difference"] = [files.get(row.index, "") for row in comparison.rows]
    rows.insert(0, "number", [row.number for row in comparison.rows])
    return rows


def html(comparison: Comparison, worst: Sequence[WorstPicture], folder: Path) -> str:
    """The page: one file, no network. From ``folder``, where it will lie, it refers to pictures of the runs."""
    ordered = replace(comparison, rows=tuple(_in_order(comparison.rows)))
    drawn = charts(comparison)
    runs = _named(list(dict.fromkeys(row.costs.run for row in comparison.rows)))
    return document(
        "compare.html.jinja",
        script="compare",
        styles=("base", "viewer", "looking", "compare", "forced"),
        title=runs or comparison.baseline,
        common=heading(comparison),
        headlines=headlines(comparison),
        overalls=overalls(comparison),
        unmeasured=unmeasured(comparison),
        answers=answers(comparison),
        charts=drawn,
        key=key_of(drawn),
        sections=[_leading(item) for item in sections(ordered)],
        legend=legend(comparison),
        notes=comparison.notes,
        worst=[_Shown.of(item, folder) for item in worst],
    )


def _named(runs: Sequence[str]) -> str:
    """What the page is of; of many runs the first ones, since the tables name all."""
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED + 1 else ""
    return " / ".join(runs[:MOST_NAMED] if more else runs) + more


def _in_order(rows: Sequence[ComparedSetting]) -> list[ComparedSetting]:
    """As people read them: rivals of one run and device together, the fastest first, those without a time last."""
    runs = list(dict.fromkeys((row.costs.run, row.costs.device) for row in rows))
    rivals = list(dict.fromkeys(row.costs.rivals for row in rows))

    def place(row: ComparedSetting) -> tuple[int, int, bool, float]:
        total = row.costs.seconds.total
        run = runs.index((row.costs.run, row.costs.device))
        return run, rivals.index(row.costs.rivals), total is None, total or 0.0

    return sorted(rows, key=place)


_FIRST = ("total", "images/h", "device", "identical", "min PSNR", "min SSIM")
"""Figures that a table begins with: on a phone they are seen before it is moved."""


def _leading(section: Section) -> Section:
    """A table with its main figures first."""
    order = sorted(range(len(section.figures)), key=lambda at: section.figures[at] not in _FIRST)

    def turned(line: Line) -> Line:
        figures = tuple(line.figures[at] for at in order) if line.figures else ()
        return replace(line, figures=figures, best=frozenset(order.index(at) for at in line.best))

    return replace(
        section,
        figures=tuple(section.figures[at] for at in order),
        blocks=tuple((head, tuple(map(turned, lines))) for head, lines in section.blocks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """A picture in the page."""

    kind: str
    address: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """The worst picture of a setting, as the page shows it."""

    item: WorstPicture
    base: str
    setting: str
    figures: str
    """How far it is from its reference."""
    crops: tuple[_Figure, ...]
    wholes: tuple[_Figure, ...]
    files: tuple[str, str] | None

    @classmethod
    def of(cls, item: WorstPicture, folder: Path) -> _Shown:
        gap, base, setting = item.pair.difference, item.pair.named_base, item.row.costs.setting.memory
        ssim = "" if gap.ssim is None else f", SSIM {gap.ssim:.4f}"
        return cls(
            item=item,
            base=base,
            setting=setting,
            figures=f"PSNR {gap.psnr_db:.1f} dB{ssim}, largest difference {gap.max_difference} of 255, "
            f"{gap.changed_share:.1%} of the pixels differ",
            crops=_figures(item.crop.three, base, setting, f"difference, times {item.crop.gain}"),
            wholes=_figures(item.whole, base, setting, item.caption),
            files=item.addresses(folder),
        )


def _figures(three: Three, base: str, setting: str, apart: str) -> tuple[_Figure, ...]:
    named = (("before", f"reference ({base})"), ("after", setting), ("apart", apart))
    return tuple(
        _Figure(kind=kind, caption=caption, address=_embedded(getattr(three, kind))) for kind, caption in named
    )


def _embedded(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
