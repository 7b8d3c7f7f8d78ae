"""What ``compare --out`` writes: compare.csv, compare.html, and where each setting's worst picture differs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from batch.base import atomic
from batch.base.errors import UserError
from batch.report.compare import chart
from batch.report.compare.comparison import NOT_INSTALLED, Comparison, Pair, named_base
from batch.report.compare.pixels import SHOWN_SIDE, Shown, has_ssim, where
from batch.report.compare.tables import Line, Section, heading, legend, sections
from batch.store import images

FOLDER = "differences"
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Where the worst picture of a row differs, and the two pictures, small."""

    row: int
    pair: Pair
    shown: Shown
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]

    @property
    def path(self) -> str:
        """Of the picture of differences, below the folder written to."""
        return f"{FOLDER}/{self.row + 1}-{self.pair.picture.receipt.task.picture_id[:8]}.png"

    @property
    def caption(self) -> str:
        """How much the differences are exaggerated."""
        block = self.shown.block
        of = "" if block == 1 else f"the largest of each {block}x{block} pixels, "
        return f"difference, {of}times {self.shown.gain}"


def write(folder: Path, comparison: Comparison) -> list[Path]:
    """Write everything into a folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"--out {folder} is a file; a folder is needed") from None
    except OSError as error:
        raise UserError(f"--out {folder} cannot be made: {error.strerror or error}") from None
    seen = list(_seen(comparison))
    csv, page = folder / "compare.csv", folder / "compare.html"
    for item in seen:
        atomic.write(folder / item.path, _encoded(item.shown.pixels, "PNG"))
    atomic.write(csv, table(comparison, seen).to_csv(index=False, lineterminator="\n").encode())
    atomic.write(page, html(comparison, seen).encode())
    return [csv, page, *([folder / FOLDER] if seen else [])]


def _seen(comparison: Comparison) -> Iterator[Seen]:
    for row, pair in sorted(comparison.worst.items()):
        before, after = images.read_pixels(pair.base.path), images.read_pixels(pair.picture.path)
        yield Seen(row=row, pair=pair, shown=where(before, after), before=_small(before), after=_small(after))


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=_QUALITY)
    return buffer.getvalue()


def table(comparison: Comparison, seen: list[Seen]) -> pd.DataFrame:
    """compare.csv: the rows as they are, numbered as everywhere, with the file of their differences."""
    rows = comparison.rows.copy()
    if not has_ssim():
        differing = rows.compared.notna() & (rows.identical < 1)
        for name in ("ssim_mean", "ssim_min"):
            rows[name] = rows[name].astype("object").mask(differing, NOT_INSTALLED)
    files = {item.row: item.path for item in seen}
    rows["difference"] = [files.get(row, "") for row in range(len(rows))]
    rows.insert(0, "number", range(1, len(rows) + 1))
    return rows


# The page


def html(comparison: Comparison, seen: list[Seen]) -> str:
    """The page: one file, no script, no network."""
    template = (
        resources.files("batch.report.compare").joinpath("compare.html.template").read_text(encoding="utf-8")
    )
    runs = " / ".join(dict.fromkeys(comparison.rows.run))
    parts = {
        "TITLE": escape(runs or comparison.baseline),
        "COMMON": escape(heading(comparison)),
        "SENTENCES": "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.sentences),
        "CHART": chart.charts(comparison),
        "TABLES": "".join(map(_table, sections(comparison))),
        "LEGEND": "<br>".join(map(escape, legend(comparison))),
        "DIFFERENCES": _differences(comparison, seen),
        "NOTES": "".join(f"<li>{escape(note)}</li>" for note in comparison.notes),
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def _table(section: Section) -> str:
    head = ["#", *section.named]
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    cells += "".join(f'<th class="number">{escape(name)}</th>' for name in section.figures)
    width = len(head) + len(section.figures)
    body = ""
    for title, lines in section.blocks:
        body += f'<tr><th class="block" colspan="{width}">{escape(title)}</th></tr>' if title else ""
        body += "".join(_line(line, len(section.figures)) for line in lines)
    return (
        f"<h2>{escape(section.title)}</h2><p class='muted'>{escape(section.about)}</p>"
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _line(line: Line, width: int) -> str:
    named = "".join(f"<td>{escape(cell)}</td>" for cell in (f"{line.number}{line.mark}", *line.named))
    figures = "".join(f'<td class="number">{escape(cell)}</td>' for cell in line.figures)
    words = f'<td class="words" colspan="{max(width, 1)}">{escape(line.words)}</td>' if line.words else ""
    if line.figures and words:
        return f'<tr>{named}{figures}</tr><tr><td colspan="{1 + len(line.named)}"></td>{words}</tr>'
    return f"<tr>{named}{figures}{words}</tr>"


def _differences(comparison: Comparison, seen: list[Seen]) -> str:
    if not seen:
        return ""
    return (
        "<h2>Where pixels differ</h2><p class='muted'>the picture of each setting that is furthest from its "
        "reference</p>" + "".join(_difference(comparison, item) for item in seen)
    )


def _difference(comparison: Comparison, item: Seen) -> str:
    row, gap, task = comparison.rows.loc[item.row], item.pair.difference, item.pair.picture.receipt.task
    ssim = "" if gap.ssim is None else f", SSIM {gap.ssim:.4f}"
    told = (
        f"{item.row + 1} · {row.memory} · {row.run} · {task.size} · seed {task.seed} · {task.prompt[:80]}: "
        f"PSNR {gap.psnr_db:.1f} dB{ssim}, largest difference {gap.max_difference}, "
        f"{gap.changed_share:.1%} of the pixels"
    )
    figures = (
        _figure(item.before, "WEBP", f"reference ({named_base(item.pair)})"),
        _figure(item.after, "WEBP", str(row.memory)),
        _figure(item.shown.pixels, "PNG", item.caption),
    )
    return f'<section><h3>{escape(told)}</h3><div class="three">{"".join(figures)}</div></section>'


def _figure(pixels: NDArray[np.uint8], kind: str, caption: str) -> str:
    data = base64.b64encode(_encoded(pixels, kind)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind.lower()};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
