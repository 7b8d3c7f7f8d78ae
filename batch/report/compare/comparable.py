"""What stands in the way of a comparison: images that are missing, other versions, other pictures, other cards.

Nothing here is refused: the figures are shown, and a note says what they do not tell.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from batch.base.text import plural
from batch.plan.identity import FIELD_KINDS, Kind
from batch.plan.measuring import MEASURE
from batch.records import Failure, Receipt, Task
from batch.report import table
from batch.report.compare.costs import is_warmup
from batch.store.receipts import Scan

_MOST_CHANGES = 5
"""Of one kind that are named; the others are counted."""

RANDOM = "random:"
"""What the name of a model begins with whose weights are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder, read."""

    label: str
    root: Path
    kind: str
    tasks: Sequence[Task]
    scan: Scan

    def pictures(self) -> set[str]:
        """What the run's plan names, whatever the memory setting."""
        return {task.picture_id for task in self.tasks}

    def receipts(self) -> list[Receipt]:
        """Of what is done and still named, in order."""
        return [self.scan.receipts[task.id] for task in self.tasks if task.id in self.scan.receipts]

    def records(self) -> list[Receipt | Failure]:
        """The same with what failed."""
        found = ((self.scan.receipts.get(task.id) or self.scan.failures.get(task.id)) for task in self.tasks)
        return [record for record in found if record is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Pictures that a run's plan shares with the first one's."""

    run: str
    common: int
    only_first: int
    only_this: int


def overlap(first: Run, other: Run) -> Overlap:
    """Count what two plans have in common."""
    ours, theirs = first.pictures(), other.pictures()
    return Overlap(
        run=other.label, common=len(ours & theirs), only_first=len(ours - theirs), only_this=len(theirs - ours)
    )


def notes(
    runs: Sequence[Run], overlaps: Sequence[Overlap], bases: Sequence[Mapping[str, Receipt]]
) -> Iterator[str]:
    """Everything to know about runs; ``bases`` are their pictures under the reference setting, by picture."""
    first = runs[0]
    yield from _missing(runs)
    yield from _degraded(first, bases[0])
    yield from (note for run in runs for note in _low_bits(run))
    yield from _machines(runs)
    yield from _versions(runs)
    yield from _kinds(runs)
    yield from (note for run in runs for note in _foreign(run))
    yield from _limited(runs)
    yield from _random(runs)
    for run, base in zip(runs[1:], bases[1:], strict=True):
        yield from _schedulers(first, run, bases[0], base)
        yield from _other_pictures(first, run)
    yield from _in_common(first.label, overlaps)


def _missing(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        there = {record.task.id for record in run.records()} | run.scan.skipped.keys()
        missing = sum(task.id not in there for task in run.tasks)
        if missing:
            yield (
                f"{run.label}: {missing} of {len(run.tasks)} images are missing, or their receipts are damaged: "
                "verify says which"
            )


def _degraded(first: Run, base: Mapping[str, Receipt]) -> Iterator[str]:
    settings = sorted({table.memory_used(item) for item in base.values() if item.degraded_from})
    if settings:
        yield (
            f"memory ran out in {first.label}: pictures that the others are compared with were rendered with "
            f"{', '.join(settings)}"
        )


def _low_bits(run: Run) -> Iterator[str]:
    """What moves low bits of pictures that are alike otherwise."""
    receipts = run.receipts()
    batched = sum(item.batch > 1 for item in receipts)
    compiled = sum(item.compile for item in receipts)
    for count, how in ((batched, "denoised in batches"), (compiled, "rendered by a compiled model")):
        if count:
            yield (
                f"{run.label}: {count} of {len(receipts)} pictures {how}: low bits differ from those rendered "
                "alone by the model as it is"
            )


def _machines(runs: Sequence[Run]) -> Iterator[str]:
    """CPU against GPU; memory on the card that is not the process's own."""
    sources = {run.label: {item.measurement.memory_source for item in run.receipts()} for run in runs}
    on_cpu = [label for label, found in sources.items() if "rss" in found]
    on_gpu = [label for label, found in sources.items() if found - {"rss"}]
    if on_cpu and on_gpu:
        yield (
            f"{', '.join(on_cpu)} was rendered on a CPU, {', '.join(on_gpu)} on a GPU: neither times nor memory "
            "can be compared, and low bits of pixels differ"
        )
    changed = [label for label, found in sources.items() if "nvml-device-change" in found]
    if changed:
        yield (
            f"{', '.join(changed)}: the driver hides processes, so memory on the device is what the whole card's "
            "use grew by"
        )


def _versions(runs: Sequence[Run]) -> Iterator[str]:
    """Versions that are not the same everywhere, each with the runs that had it."""
    for name in ("torch", "diffusers", "driver"):
        had: dict[str, list[str]] = defaultdict(list)
        for run in runs:
            for version in sorted({found for item in run.records() if (found := getattr(item.machine, name))}):
                had[version].append(run.label)
        if len(had) > 1:
            named = "; ".join(f"{version} in {', '.join(labels)}" for version, labels in had.items())
            yield f"not the same {name}: {named}. Times, memory and low bits of pixels may differ for that"


def _kinds(runs: Sequence[Run]) -> Iterator[str]:
    measured = [run.label for run in runs if run.kind == MEASURE]
    rendered = [run.label for run in runs if run.kind != MEASURE]
    if measured and rendered:
        yield (
            f"{', '.join(measured)} measured each setting in a process of its own, {', '.join(rendered)} rendered "
            "one after the other: peaks and times of the latter hold what earlier images left"
        )


def _foreign(run: Run) -> Iterator[str]:
    receipts = [item for item in run.receipts() if not is_warmup(item.task)]
    disturbed = [item for item in receipts if item.measurement.card and item.measurement.card.foreign]
    if disturbed:
        settings = list(dict.fromkeys(f"{item.task.size} {table.memory_used(item)}" for item in disturbed))
        more = f" and {len(settings) - _MOST_CHANGES} more" if len(settings) > _MOST_CHANGES else ""
        yield (
            f"{run.label}: other processes computed on the card during {len(disturbed)} of "
            f"{plural(len(receipts), 'images')}, so times are too long and memory on the device may be too: "
            f"{'; '.join(settings[:_MOST_CHANGES])}{more}"
        )


def _limited(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        limits = {limit for item in run.records() if (limit := item.machine.vram_limit)}
        if limits:
            named = ", ".join(f"{limit / 2**30:g} GiB" for limit in sorted(limits))
            yield (
                f"{run.label} was held to {named} of its card: in memory it stands for a smaller one, not in time"
            )


def _random(runs: Sequence[Run]) -> Iterator[str]:
    models = sorted({task.model for run in runs for task in run.tasks if task.model.startswith(RANDOM)})
    if models:
        yield (
            f"the weights of {', '.join(models)} are random: time and memory are those of the real model and so "
            "are identical pixels; PSNR and SSIM say little"
        )


def _schedulers(
    first: Run, other: Run, ours: Mapping[str, Receipt], theirs: Mapping[str, Receipt]
) -> Iterator[str]:
    """Pictures that are to be the same, and whose schedulers were set up differently all the same."""
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


# Pictures that would be the same, were it not for one thing

_SAME = ("model", "prompt", "negative_prompt", "seed", "width", "height")
_MAY_DIFFER = tuple(
    item.name for item in fields(Task) if FIELD_KINDS[item.name] is Kind.IDENTITY and item.name not in _SAME
)


def _other_pictures(first: Run, other: Run) -> Iterator[str]:
    """What tells pictures of one text and seed apart that are not in common: a revision, steps, and so on."""
    shared = first.pictures() & other.pictures()
    ours: dict[tuple[Any, ...], dict[str, Task]] = defaultdict(dict)
    for task in first.tasks:
        ours[_subject(task)].setdefault(task.picture_id, task)
    apart: Counter[tuple[tuple[str, str, str], ...]] = Counter()
    for task in {task.picture_id: task for task in other.tasks if task.picture_id not in shared}.values():
        candidates = [_differences(one, task) for one in ours[_subject(task)].values()]
        if candidates:
            apart[min(candidates, key=len)] += 1
    for differences, count in apart.most_common(_MOST_CHANGES):
        named = ", ".join(f"{name} {one} and {two}" for name, one, two in differences)
        yield (
            f"{plural(count, 'pictures')} of {first.label} and {other.label} would be the same but for "
            f"{named}: {'it is' if count == 1 else 'they are'} not compared"
        )


def _subject(task: Task) -> tuple[Any, ...]:
    return tuple(getattr(task, name) for name in _SAME)


def _differences(one: Task, other: Task) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, _shown(one, name), _shown(other, name))
        for name in _MAY_DIFFER
        if getattr(one, name) != getattr(other, name)
    )


def _shown(task: Task, name: str) -> str:
    value = getattr(task, name)
    if name == "revision":
        return str(value)[:10] or "unknown"
    if name == "loras":
        return " + ".join(map(str, value)) or "none"
    if isinstance(value, tuple):
        return ", ".join(f"{key}={item}" for key, item in value) or "none"
    return str(value or "default")


def _in_common(first: str, overlaps: Sequence[Overlap]) -> Iterator[str]:
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
