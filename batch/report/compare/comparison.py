"""Runs side by side: what a memory setting, a size or a GPU costs in time, memory and energy, and in pixels.

Times and peaks come from the receipts, pixels from images that :mod:`batch.report.compare.pairs` puts together.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from batch.report.compare.choice import choices, pareto
from batch.report.compare.notes import run_notes
from batch.report.compare.pairs import pairs, references
from batch.report.compare.picture_notes import compared_notes, picture_notes, stand_in_notes
from batch.report.compare.rows import ComparedSetting, frame
from batch.report.compare.runs import overlap
from batch.report.compare.sentences import sentences
from batch.report.compare.settings import by_setting, costs_of, keys, rival_keys

if TYPE_CHECKING:
    from batch.report.compare.choice import FastestSetting
    from batch.report.compare.pairs import Pair
    from batch.report.compare.runs import Overlap, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The table, and what to know about it."""

    baseline: str
    rows: tuple[ComparedSetting, ...]
    keys: tuple[str, ...]
    """The columns that tell rows apart: :func:`batch.report.compare.settings.keys`."""
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...]
    choices: tuple[FastestSetting, ...]
    sentences: tuple[str, ...]

    @property
    def by(self) -> tuple[str, ...]:
        """The columns in which rows must be the same for their settings to be rivals; the device is one."""
        return rival_keys(self.keys)


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare runs. Reads every pair of images whose files differ."""
    groups = by_setting(runs)
    costs = [costs_of(group) for group in groups]
    row_of = {(group.run, image.task.id): row for row, group in enumerate(groups) for image in group.images}
    found = references(runs)
    unread: list[str] = []
    compared = list(pairs(runs, found, unread))
    of_row: dict[int, list[Pair]] = defaultdict(list)
    for pair in compared:
        of_row[row_of[pair.picture.key]].append(pair)
    bases = {row_of[pair.base.key] for pair in compared}
    rows = tuple(
        ComparedSetting.of(index, item, of_row[index], pareto=best, is_reference=index in bases)
        for index, (item, best) in enumerate(zip(costs, pareto(costs), strict=True))
    )
    overlaps = tuple(overlap(runs[0], run) for run in runs[1:])
    names = keys(costs)
    chosen = choices(rows, rival_keys(names))
    return Comparison(
        baseline=runs[0].label,
        rows=rows,
        keys=names,
        overlaps=overlaps,
        notes=(
            *run_notes(runs),
            *picture_notes(runs, overlaps),
            *stand_in_notes(found),
            *compared_notes(rows, compared, overlaps),
            *unread,
        ),
        choices=tuple(chosen),
        sentences=tuple(sentences(rows, chosen)),
    )


def as_json(comparison: Comparison) -> Mapping[str, object]:
    """What ``compare --json`` prints: numbers as measured, null where not known, rows by their index."""
    return {
        "baseline": comparison.baseline,
        "rows": json.loads(frame(comparison.rows, comparison.keys).to_json(orient="records")),
        "overlaps": [asdict(item) for item in comparison.overlaps],
        "choices": [
            {
                "group": item.group,
                "device": str(item.device),
                "under_gb": item.under_gb,
                "unlimited": item.unlimited,
                "row": item.row and item.row.index,
                "exact": item.exact and item.exact.index,
                "level": item.level and item.level.index,
            }
            for item in comparison.choices
        ],
        "sentences": list(comparison.sentences),
        "notes": list(comparison.notes),
    }
