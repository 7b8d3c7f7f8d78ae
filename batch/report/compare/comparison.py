"""Runs side by side: what a memory setting, a size or a GPU costs in time, memory and energy, and in pixels.

Times and peaks come from the receipts. Pixels are compared picture by picture: two images belong together when
their ``picture_id`` is the same, which leaves the memory setting out. The reference is the setting that the first
run names first; where that is not done anywhere, the next one. A setting is compared with the reference of its own
run, so that the difference is the setting's and not the card's, and the reference of a run with that of the first.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from batch.base.errors import UserError
from batch.base.text import plural
from batch.records import Receipt
from batch.report import table
from batch.report.compare import choice, costs
from batch.report.compare import notes as noting
from batch.report.compare.choice import Choice
from batch.report.compare.notes import Overlap, Run
from batch.report.compare.pixels import SAME, Closeness, Difference, closeness, has_ssim, of_files
from batch.store import images
from batch.store.folder import RunFolder

PIXELS = tuple(item.name for item in fields(Closeness))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A done image and the run it is in."""

    run: Run
    receipt: Receipt

    @property
    def path(self) -> Path:
        """Its file."""
        return self.run.root / self.receipt.file.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A picture, the one it was compared with, and how far they are apart."""

    picture: Picture
    base: Picture
    difference: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The table, and what to know about it.

    Its columns: the keys of :func:`batch.report.compare.costs.keys` (``setting`` as ``memory``), those of
    :func:`batch.report.compare.costs.summarise`, ``memory_mib`` and ``memory_kind`` (what decides whether a
    setting fits a card), ``pareto``, ``compared_with``, ``is_reference``, and :data:`PIXELS`.
    """

    baseline: str
    rows: pd.DataFrame
    by: tuple[str, ...]
    """The columns in which rows must be the same for their settings to be rivals; the device is one."""
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...]
    choices: tuple[Choice, ...]
    sentences: tuple[str, ...]
    worst: Mapping[int, Pair]
    """By row, the pair that is furthest apart; rows without a difference are not there."""


def read(roots: Sequence[Path]) -> list[Run]:
    """Read run folders. Raises :class:`UserError` for one that is none, or is named twice."""
    if len({root.resolve() for root in roots}) < len(roots):
        raise UserError("the same run folder is named twice")
    runs = []
    for root, label in zip(roots, _labels(roots), strict=True):
        folder = RunFolder(root)
        folder.require()
        runs.append(Run(label=label, root=root, kind=folder.kind(), tasks=folder.tasks(), scan=folder.scan()))
    return runs


def _labels(roots: Sequence[Path]) -> list[str]:
    names = [root.resolve().name for root in roots]
    return [name if names.count(name) == 1 else str(root) for name, root in zip(names, roots, strict=True)]


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs. Reads every pair of images whose files differ."""
    loras = table.loras_of(task for run in runs for task in run.tasks)
    done = pd.concat([costs.frame(run.label, run.tasks, run.scan, loras) for run in runs], ignore_index=True)
    keys = costs.keys(done)
    by = tuple(key for key in keys if key not in ("run", "setting"))
    rows = choice.with_memory(costs.summarise(done, keys).rename(columns={"setting": "memory"}))
    rows["pareto"] = choice.pareto(rows, by)
    references = _references(runs)
    unread: list[str] = []
    pairs = list(_pairs(runs, references, unread))
    row_of = _row_of(done, keys)
    rows = rows.join(_pixels(pairs, row_of, len(rows)))
    chosen = choice.choices(rows, by)
    overlaps = tuple(noting.overlap(runs[0], run) for run in runs[1:])
    return Comparison(
        baseline=runs[0].label,
        rows=rows,
        by=by,
        overlaps=overlaps,
        notes=(
            *noting.notes(runs, overlaps, [_first_done(run) for run in runs]),
            *_stand_ins(references),
            *_about(rows, pairs, overlaps),
            *unread,
        ),
        choices=tuple(chosen),
        sentences=tuple(choice.sentences(rows, chosen)),
        worst=_worst(pairs, row_of),
    )


Rows = Mapping[tuple[str, str], int]
"""The row of an image, by the label of its run and its id."""


def _row_of(done: pd.DataFrame, keys: Sequence[str]) -> Rows:
    numbers = done.groupby(list(keys), sort=False, dropna=False).ngroup()
    return dict(zip(zip(done.run, done.task_id, strict=True), map(int, numbers), strict=True))


# What is compared with what


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """What the settings of one picture are compared with."""

    base: Picture
    setting: str
    wanted: str
    """The setting that was to be it: the first one named."""
    own: Mapping[str, Picture]
    """The same setting by run, where it is done there: a picture is compared with its own run's."""


def _references(runs: Sequence[Run]) -> dict[str, _Reference]:
    """By ``picture_id``. What warms a measurement's process up is no picture; the first repeat stands for all."""
    found: dict[str, dict[str, dict[str, Picture]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        for task in run.tasks:
            if not costs.is_warmup(task):
                there = found[task.picture_id][task.memory]  # in order, also where it is not done
                if task.id in run.scan.receipts:
                    there.setdefault(run.label, Picture(run=run, receipt=run.scan.receipts[task.id]))
    return {
        picture: _Reference(base=next(iter(own.values())), setting=setting, wanted=next(iter(settings)), own=own)
        for picture, settings in found.items()
        for setting, own in [next(((name, own) for name, own in settings.items() if own), ("", {}))]
        if own
    }


def _first_done(run: Run) -> dict[str, Receipt]:
    """By ``picture_id``."""
    found: dict[str, Receipt] = {}
    for receipt in run.receipts():
        found.setdefault(receipt.task.picture_id, receipt)
    return found


def _pairs(runs: Sequence[Run], references: Mapping[str, _Reference], unread: list[str]) -> Iterator[Pair]:
    """Every picture that has another one to be compared with."""
    wanted = [
        (Picture(run=run, receipt=receipt), base)
        for run in runs
        for receipt in run.receipts()
        if not costs.is_warmup(receipt.task)
        if (base := _base_of(run, receipt, references[receipt.task.picture_id]))
    ]
    wanted.sort(key=lambda pair: str(pair[1].path))  # each reference is decoded once
    pixels = lru_cache(maxsize=2)(images.read_pixels)
    for picture, base in tqdm(wanted, desc="comparing", unit="image", disable=None, leave=False):
        try:
            same = picture.receipt.file.sha256 == base.receipt.file.sha256
            apart = SAME if same else of_files(base.path, picture.path, pixels)
        except (OSError, ValueError) as error:
            unread.append(f"not compared: {picture.path} with {base.path}: {error}")
        else:
            yield Pair(picture=picture, base=base, difference=apart)


def _base_of(run: Run, receipt: Receipt, reference: _Reference) -> Picture | None:
    own = reference.own.get(run.label)
    if own is not None and own.receipt is not receipt:
        return own
    return None if reference.base.receipt is receipt else reference.base


def _pixels(pairs: Sequence[Pair], row_of: Rows, rows: int) -> pd.DataFrame:
    """The columns about pixels: ``compared_with``, ``is_reference``, :data:`PIXELS`."""
    of_row: dict[int, list[Pair]] = defaultdict(list)
    bases = {row_of[pair.base.run.label, pair.base.receipt.task.id] for pair in pairs}
    for pair in pairs:
        of_row[_row(pair, row_of)].append(pair)
    found = [
        {
            "compared_with": ", ".join(dict.fromkeys(map(named_base, of_row[row]))),
            "is_reference": row in bases,
            **(asdict(close) if (close := closeness(pair.difference for pair in of_row[row])) else {}),
        }
        for row in range(rows)
    ]
    types = {name: "Int64" if name in ("compared", "max_diff") else "Float64" for name in PIXELS}
    return pd.DataFrame(found, columns=["compared_with", "is_reference", *PIXELS]).astype(types)


def _row(pair: Pair, row_of: Rows) -> int:
    return row_of[pair.picture.run.label, pair.picture.receipt.task.id]


def named_base(pair: Pair) -> str:
    """What a picture was compared with: the setting, and the run where that is another one."""
    setting = table.memory_used(pair.base.receipt)
    return setting if pair.base.run is pair.picture.run else f"{pair.base.run.label}: {setting}"


def _worst(pairs: Sequence[Pair], row_of: Rows) -> dict[int, Pair]:
    worst: dict[int, Pair] = {}
    for pair in sorted(pairs, key=lambda pair: pair.difference.psnr_db):
        if not pair.difference.identical:
            worst.setdefault(_row(pair, row_of), pair)
    return worst


# What to say about it


def _stand_ins(references: Mapping[str, _Reference]) -> Iterator[str]:
    """Pictures whose reference is not the setting named first, because that one is not done."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for item in references.values():
        if item.setting != item.wanted:
            counts[item.setting, item.wanted] += 1
    for (used, wanted), count in counts.items():
        yield (
            f"{wanted} is not done for {plural(count, 'pictures')}: {used} is the reference "
            f"{'its' if count == 1 else 'their'} pixels are compared with"
        )


def _about(rows: pd.DataFrame, pairs: Sequence[Pair], overlaps: Sequence[Overlap]) -> Iterator[str]:
    if not pairs and not any(not item.common for item in overlaps):
        yield "no picture is done twice: no pixels are compared"
    cards = sorted(
        {
            f"{pair.picture.run.label} on {pair.picture.receipt.machine.device}, {pair.base.run.label} on "
            f"{pair.base.receipt.machine.device}"
            for pair in pairs
            if not pair.difference.identical
            and pair.picture.receipt.machine.device != pair.base.receipt.machine.device
        }
    )
    for named in cards:
        yield f"{named}: between two cards low bits of pixels differ whatever the setting"
    if rows.compared.notna().any() and not has_ssim():
        yield f"SSIM is not computed: scikit-image is {NOT_INSTALLED}; pip install 'run-batch[compare]'"
    untimed = rows[(rows.timed == 0) & (rows.images > 0)]
    if len(untimed):
        settings = ", ".join(dict.fromkeys(untimed.memory))
        which = "no setting has a time: of each" if len(untimed) == len(rows) else f"no time of {settings}:"
        yield (
            f"{which} only the first image after loading is done, which is slower than the others. "
            "Render two images or more of each"
        )


NOT_INSTALLED = "not installed"
"""In place of a figure for which a package is missing."""


def as_json(comparison: Comparison) -> Mapping[str, Any]:
    """What ``compare --json`` prints: numbers as measured, null where not known."""
    return {
        "baseline": comparison.baseline,
        "rows": json.loads(comparison.rows.to_json(orient="records")),
        "overlaps": [asdict(item) for item in comparison.overlaps],
        "choices": [asdict(item) for item in comparison.choices],
        "sentences": list(comparison.sentences),
        "notes": list(comparison.notes),
    }
