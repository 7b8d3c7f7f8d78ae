"""Runs side by side: what a memory setting, a size or a GPU costs in time and memory, and in pixels.

Times and peaks come from the receipts. Pixels are compared with the first run, picture by picture: two
images belong together when their ``picture_id`` is the same, which leaves the memory setting out. Where
the first run has a picture under several memory settings, the one its manifest names first is the baseline,
and a note says where memory ran out and it was rendered with a smaller one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from batch.errors import UserError
from batch.records import Receipt, Task
from batch.report import table, timing
from batch.report.pixels import SAME, Closeness, Difference, closeness, of_files
from batch.store.folder import RunFolder, Scan

KEYS = ("run", "device", "model", "size", "setting", "steps", "dtype")
"""What has a row of its own."""

PIXELS = tuple(item.name for item in fields(Closeness))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, read."""

    label: str
    root: Path
    tasks: Sequence[Task]
    scan: Scan

    def pictures(self) -> set[str]:
        """What the run's plan names, whatever the memory setting."""
        return {task.picture_id for task in self.tasks}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Pictures that a run's plan shares with the first one's."""

    run: str
    common: int
    only_first: int
    only_this: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The table (:data:`KEYS`, the columns of ``timing.summarise``, :data:`PIXELS`), and what to know about it."""

    baseline: str
    rows: pd.DataFrame
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...]


def read(roots: Sequence[Path]) -> list[Run]:
    """Read run folders. Raises :class:`UserError` for one that is none, or is named twice."""
    if len({root.resolve() for root in roots}) < len(roots):
        raise UserError("the same run folder is named twice")
    runs = []
    for root, label in zip(roots, _labels(roots), strict=True):
        folder = RunFolder(root)
        folder.require()
        runs.append(Run(label=label, root=root, tasks=folder.tasks(), scan=folder.scan()))
    return runs


def _labels(roots: Sequence[Path]) -> list[str]:
    names = [root.resolve().name for root in roots]
    return [name if names.count(name) == 1 else str(root) for name, root in zip(names, roots, strict=True)]


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs with the first of them. Reads every pair of images whose files differ."""
    frames = [timing.with_settings(table.frame(run.tasks, run.scan)).assign(run=run.label) for run in runs]
    rows = pd.concat(frames, ignore_index=True)
    rows["device"] = rows.device.fillna("")  # a task that failed before it had one
    unread: list[str] = []
    apart = {(label, task_id): item for label, task_id, item in _pixels(runs, unread)}
    by_group: dict[tuple[Any, ...], list[Difference]] = defaultdict(list)
    for *group, label, task_id in rows[[*KEYS, "run", "task_id"]].itertuples(index=False):
        if (label, task_id) in apart:
            by_group[tuple(group)].append(apart[label, task_id])
    summary = timing.summarise(rows, KEYS)
    found = [closeness(by_group[group]) for group in summary[list(KEYS)].itertuples(index=False, name=None)]
    pixels = pd.DataFrame([asdict(item) if item else {} for item in found], columns=list(PIXELS))
    types = {name: "Int64" if name in ("compared", "max_diff") else "Float64" for name in PIXELS}
    overlaps = tuple(_overlap(runs[0], run) for run in runs[1:])
    return Comparison(
        baseline=runs[0].label,
        rows=summary.join(pixels.astype(types)).rename(columns={"setting": "memory"}),
        overlaps=overlaps,
        notes=(
            *_missing(runs),
            *_degraded(runs[0]),
            *(note for run in runs for note in _low_bits(run)),
            *(note for run in runs[1:] for note in _schedulers(runs[0], run)),
            *_notes(runs[0].label, overlaps, compared=bool(apart)),
            *unread,
        ),
    )


def _overlap(first: Run, other: Run) -> Overlap:
    ours, theirs = first.pictures(), other.pictures()
    return Overlap(
        run=other.label, common=len(ours & theirs), only_first=len(ours - theirs), only_this=len(theirs - ours)
    )


def _missing(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        missing = sum(task.id not in run.scan.receipts and task.id not in run.scan.failures for task in run.tasks)
        if missing:
            yield f"{run.label}: {missing} of {len(run.tasks)} images are missing"


def _degraded(first: Run) -> Iterator[str]:
    settings = sorted({table.memory_used(item) for item in _baseline(first).values() if item.degraded_from})
    if settings:
        yield (
            f"memory ran out in {first.label}: pictures that the others are compared with were rendered with "
            f"{', '.join(settings)}"
        )


def _low_bits(run: Run) -> Iterator[str]:
    """What moves low bits of pictures that are alike otherwise."""
    receipts = [run.scan.receipts[task.id] for task in run.tasks if task.id in run.scan.receipts]
    batched = sum(item.batch > 1 for item in receipts)
    compiled = sum(item.compile for item in receipts)
    for count, how in ((batched, "denoised in batches"), (compiled, "rendered by a compiled model")):
        if count:
            yield (
                f"{run.label}: {count} of {len(receipts)} pictures {how}: low bits differ from those rendered "
                "alone by the model as it is"
            )


def _schedulers(first: Run, other: Run) -> Iterator[str]:
    """Pictures that are to be the same, and whose schedulers were set up differently all the same."""
    ours, theirs = _baseline(first), _baseline(other)
    pairs = [(ours[key].scheduler, theirs[key].scheduler) for key in ours.keys() & theirs.keys()]
    apart = [(one, two) for one, two in pairs if one and two and one != two]
    if not apart:
        return
    changes = sorted(
        {
            f"{name} {one.get(name, '-')} and {two.get(name, '-')}"
            for one, two in apart
            for name in one.keys() | two.keys()
            if one.get(name) != two.get(name)
        }
    )
    yield (
        f"{len(apart)} of {len(pairs)} pictures of {first.label} and {other.label} were made by schedulers with "
        f"other settings, though the same ones were asked for: {'; '.join(changes[:_MOST_CHANGES])}"
        + (" …" if len(changes) > _MOST_CHANGES else "")
    )


_MOST_CHANGES = 5


def _notes(first: str, overlaps: Sequence[Overlap], *, compared: bool) -> Iterator[str]:
    for item in overlaps:
        if not item.common:
            yield (
                f"{item.run} and {first} have no picture in common (model, prompt, seed, size, steps and so on): "
                "their pixels are not compared"
            )
        elif item.only_first or item.only_this:
            pictures = "picture" if item.common == 1 else "pictures"
            yield (
                f"{item.run} and {first} have {item.common} {pictures} in common; "
                f"{item.only_first} {'is' if item.only_first == 1 else 'are'} only in {first}, "
                f"{item.only_this} only in {item.run}"
            )
    if not compared and not any(not item.common for item in overlaps):
        yield "no picture is done twice: no pixels are compared"


def _baseline(run: Run) -> dict[str, Receipt]:
    """By ``picture_id``; a picture whose first memory setting is not done has no baseline."""
    chosen: dict[str, Task] = {}
    for task in run.tasks:
        chosen.setdefault(task.picture_id, task)
    receipts = ((key, run.scan.receipts.get(task.id)) for key, task in chosen.items())
    return {key: receipt for key, receipt in receipts if receipt is not None}


def _pixels(runs: Sequence[Run], unread: list[str]) -> Iterator[tuple[str, str, Difference]]:
    """Run, task id and difference of every image that has a baseline and is not one itself."""
    baseline, root = _baseline(runs[0]), runs[0].root
    pairs = [
        (run, receipt, baseline[task.picture_id])
        for run in runs
        for task in run.tasks
        if task.picture_id in baseline and (receipt := run.scan.receipts.get(task.id)) is not None
        if receipt is not baseline[task.picture_id]
    ]
    for run, receipt, base in tqdm(pairs, desc="comparing", unit="image", disable=None, leave=False):
        try:
            same = receipt.file.sha256 == base.file.sha256
            apart = SAME if same else of_files(root / base.file.path, run.root / receipt.file.path)
        except (OSError, ValueError) as error:
            unread.append(f"not compared: {error}")
        else:
            yield run.label, receipt.task.id, apart


# Showing

_TITLES = {
    "total_s": "total s", "denoise_s": "denoise s", "decode_s": "decode s", "save_s": "save s",
    "peak_allocated_mib": "allocated", "peak_reserved_mib": "reserved", "peak_device_mib": "device",
    "peak_rss_mib": "host", "max_diff": "max diff", "psnr_mean": "PSNR", "psnr_min": "min PSNR",
}  # fmt: skip

_TIMES = (
    "Medians in seconds without the first image after a load (timed: images behind them); largest peaks in MiB."
)
_PIXELS = (
    " Pixels against the baseline, {}: the share of images that are identical; over the rest the largest "
    "difference (of 255) and the PSNR in dB."
)


def caption(comparison: Comparison) -> str:
    """What the columns mean."""
    pixels = comparison.rows.compared.notna().any()
    return _TIMES + (_PIXELS.format(comparison.baseline) if pixels else "")


def shown(comparison: Comparison) -> tuple[dict[str, str], pd.DataFrame]:
    """For people: what all rows share, and the table of text without that and without empty columns."""
    rows = comparison.rows
    same = {
        key: str(rows[key].iloc[0])
        for key in ("device", "model", "size", "steps", "dtype")
        if len(rows) and rows[key].nunique(dropna=False) == 1
    }
    empty = [name for name in rows.columns if name not in same and rows[name].isna().all()]
    kept = rows.drop(columns=[*same, *empty])
    texts = {name: [_cell(name, value) for value in kept[name]] for name in kept.columns}
    return same, pd.DataFrame(texts).rename(columns=_TITLES)


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "-"
    if name == "identical":
        return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"
    if name.endswith("_mib"):
        return f"{value:.0f}"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def text(comparison: Comparison) -> str:
    """What ``compare`` prints."""
    same, cells = shown(comparison)
    if cells.empty:
        return "nothing has been rendered in these runs"
    heading = " · ".join(f"{key} {value}" for key, value in same.items() if value)
    lines = [heading, "", cells.to_string(index=False), "", caption(comparison)]
    return "\n".join([*lines, *comparison.notes]).strip()


def as_json(comparison: Comparison) -> Mapping[str, Any]:
    """What ``compare --json`` prints: numbers as measured, null where not known."""
    return {
        "baseline": comparison.baseline,
        "rows": json.loads(comparison.rows.to_json(orient="records")),
        "overlaps": [asdict(item) for item in comparison.overlaps],
        "notes": list(comparison.notes),
    }
