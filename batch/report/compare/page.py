"""What ``compare --out`` writes: compare.csv, compare.html, and where each setting's worst picture differs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from batch.base import atomic
from batch.base.errors import UserError
from batch.report.compare import chart
from batch.report.compare.pixels import NOT_INSTALLED, SHOWN_SIDE, has_ssim, where
from batch.report.compare.rows import frame
from batch.report.compare.tables import heading, legend, sections
from batch.report.table import as_csv
from batch.store.images.reading import read_pixels

if TYPE_CHECKING:
    from batch.report.compare.comparison import Comparison
    from batch.report.compare.pairs import Pair
    from batch.report.compare.pixels import DifferenceImage
    from batch.report.compare.rows import ComparedSetting
    from batch.report.compare.tables import Section

FOLDER = "differences"
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPicture:
    """Where the worst picture of a setting differs, and the two pictures, small."""

    row: ComparedSetting
    pair: Pair
    shown: DifferenceImage
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]

    @property
    def path(self) -> str:
        """Of the picture of differences, below the folder written to."""
        return f"{FOLDER}/{self.row.number}-{self.pair.picture.receipt.task.picture_id[:8]}.png"

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
    worst = []
    for row in comparison.rows:
        if pair := row.worst:
            before, after = read_pixels(pair.base.path), read_pixels(pair.picture.path)
            small = {"before": _small(before), "after": _small(after)}
            worst.append(WorstPicture(row=row, pair=pair, shown=where(before, after), **small))
    csv, page = folder / "compare.csv", folder / "compare.html"
    for item in worst:
        atomic.write(folder / item.path, _encoded(item.shown.pixels, "PNG"))
    atomic.write(csv, as_csv(table(comparison, worst)))
    atomic.write(page, html(comparison, worst).encode("utf-8", "backslashreplace"))
    return [csv, page, *([folder / FOLDER] if worst else [])]


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)


def _encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=_QUALITY)
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


# The page


def html(comparison: Comparison, worst: Sequence[WorstPicture]) -> str:
    """The page: one file, no script, no network."""
    template = (
        resources.files("batch.report.compare").joinpath("compare.html.template").read_text(encoding="utf-8")
    )
    runs = " / ".join(dict.fromkeys(row.costs.run for row in comparison.rows))
    parts = {
        "TITLE": escape(runs or comparison.baseline),
        "COMMON": escape(heading(comparison)),
        "SENTENCES": "".join(f"<li>{escape(sentence)}</li>" for sentence in comparison.sentences),
        "CHART": chart.charts(comparison),
        "TABLES": "".join(map(_table, sections(comparison))),
        "LEGEND": "<br>".join(map(escape, legend(comparison))),
        "DIFFERENCES": _differences(worst),
        "NOTES": "".join(f"<li>{escape(note)}</li>" for note in comparison.notes),
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda match: parts[match[1]], template)


def _table(section: Section) -> str:
    head = ["#", *section.named]
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    titles += "".join(f'<th class="number">{escape(name)}</th>' for name in section.figures)
    width = len(head) + len(section.figures)
    body = ""
    for block, lines in section.blocks:
        body += f'<tr><th class="block" colspan="{width}">{escape(block)}</th></tr>' if block else ""
        for line in lines:
            body += "<tr>"
            body += "".join(f"<td>{escape(cell)}</td>" for cell in (f"{line.number}{line.mark}", *line.named))
            body += "".join(f'<td class="number">{escape(cell)}</td>' for cell in line.figures)
            if line.figures and line.words:
                body += f'</tr><tr><td colspan="{len(head)}"></td>'
            if line.words:
                body += f'<td class="words" colspan="{max(len(section.figures), 1)}">{escape(line.words)}</td>'
            body += "</tr>"
    return (
        f"<h2>{escape(section.title)}</h2><p class='muted'>{escape(section.about)}</p>"
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _differences(worst: Sequence[WorstPicture]) -> str:
    if not worst:
        return ""
    parts = [
        "<h2>Where pixels differ</h2><p class='muted'>the picture of each setting that is furthest from its "
        "reference</p>"
    ]
    for item in worst:
        costs, gap, task = item.row.costs, item.pair.difference, item.pair.picture.receipt.task
        ssim = "" if gap.ssim is None else f", SSIM {gap.ssim:.4f}"
        told = (
            f"{item.row.number} · {costs.setting.memory} · {costs.run} · {task.size} · seed {task.seed} · "
            f"{task.prompt[:80]}: PSNR {gap.psnr_db:.1f} dB{ssim}, largest difference {gap.max_difference}, "
            f"{gap.changed_share:.1%} of the pixels"
        )
        figures = (
            _figure(item.before, "WEBP", f"reference ({item.pair.named_base})"),
            _figure(item.after, "WEBP", costs.setting.memory),
            _figure(item.shown.pixels, "PNG", item.caption),
        )
        parts.append(f'<section><h3>{escape(told)}</h3><div class="three">{"".join(figures)}</div></section>')
    return "".join(parts)


def _figure(pixels: NDArray[np.uint8], kind: str, caption: str) -> str:
    data = base64.b64encode(_encoded(pixels, kind)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind.lower()};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
