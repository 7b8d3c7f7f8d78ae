"""What stands in the way of comparing pictures: what is in one run alone, or differs in one thing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from batch.base.text import plural
from batch.plan import alike
from batch.plan.identity import FIELD_KINDS, Kind
from batch.records.tasks import Task
from batch.report.compare.naming import named, told_by_run
from batch.report.compare.pixels import NOT_INSTALLED, has_ssim

if TYPE_CHECKING:
    from batch.report.compare.pairs import Pair, Reference
    from batch.report.compare.rows import ComparedSetting
    from batch.report.compare.runs import Overlap, Run

_MOST_CHANGES = 5
"""Of one kind that are named."""

_MAY_DIFFER = tuple(
    item.name
    for item in fields(Task)
    if FIELD_KINDS[item.name] is Kind.IDENTITY and item.name not in alike.SUBJECT_FIELDS
)


def picture_notes(runs: Sequence[Run], overlaps: Sequence[Overlap]) -> Iterator[str]:
    """What the first run's pictures and those of the others have in common, and what stands between them."""
    first = runs[0]
    for run in runs[1:]:
        yield from _schedulers(first, run)
        yield from _other_pictures(first, run)
    for item in overlaps:
        if not item.common:
            yield (
                f"{item.run} and {first.label} have no picture in common (model, prompt, seed, size, steps and so "
                "on): their pixels are not compared"
            )
        elif item.only_first or item.only_this:
            yield (
                f"{item.run} and {first.label} have {plural(item.common, 'pictures')} in common; "
                f"{item.only_first} {'is' if item.only_first == 1 else 'are'} only in {first.label}, "
                f"{item.only_this} only in {item.run}"
            )


def _schedulers(first: Run, other: Run) -> Iterator[str]:
    """Pictures that are to be the same, and whose schedulers were set up differently all the same."""
    ours, theirs = first.first_done(), other.first_done()
    pairs = [(ours[key].scheduler, theirs[key].scheduler) for key in ours.keys() & theirs.keys()]
    apart = [(one, two) for one, two in pairs if one and two and one != two]
    changes = sorted(
        {
            f"{name} {one.get(name, '-')} and {two.get(name, '-')}"
            for one, two in apart
            for name in one.keys() | two.keys()
            if one.get(name) != two.get(name)
        }
    )
    if apart:
        yield (
            f"{len(apart)} of {len(pairs)} pictures of {first.label} and {other.label} were made by schedulers "
            f"with other settings, though the same ones were asked for: {'; '.join(changes[:_MOST_CHANGES])}"
            + (" …" if len(changes) > _MOST_CHANGES else "")
        )


def _other_pictures(first: Run, other: Run) -> Iterator[str]:
    """What tells pictures of one text and seed apart that are not in common: a revision, steps, and so on."""
    shared = first.pictures() & other.pictures()
    ours: dict[Hashable, dict[str, Task]] = defaultdict(dict)
    for image in first.images:
        ours[alike.subject_key(image.task)].setdefault(image.task.picture_id, image.task)
    tasks = [image.task for image in other.images if image.task.picture_id not in shared]
    apart: Counter[tuple[str, ...]] = Counter()
    for task in {task.picture_id: task for task in tasks}.values():
        candidates = [
            tuple(
                f"{name} {_shown(one, name)} and {_shown(task, name)}"
                for name in _MAY_DIFFER
                if getattr(one, name) != getattr(task, name)
            )
            for one in ours[alike.subject_key(task)].values()
        ]
        if candidates:
            apart[min(candidates, key=len)] += 1
    for differences, count in apart.most_common(_MOST_CHANGES):
        yield (
            f"{plural(count, 'pictures')} of {first.label} and {other.label} would be the same but for "
            f"{', '.join(differences)}: {'it is' if count == 1 else 'they are'} not compared"
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


def stand_in_notes(references: Mapping[str, Reference]) -> Iterator[str]:
    """Pictures whose reference is not the setting named first, because that one is not done."""
    others = [item for item in references.values() if item.setting != item.wanted]
    counts = Counter((item.setting, item.wanted, item.touched) for item in others)
    for (used, wanted, touched), count in counts.items():
        pictures = plural(count, "pictures")
        why = f"{wanted} is not done for {pictures}"
        if touched:
            why = f"of {pictures} that of {wanted} is {touched}"
        yield f"{why}: {used} is the reference {'its' if count == 1 else 'their'} pixels are compared with"


def compared_notes(
    rows: Sequence[ComparedSetting], pairs: Sequence[Pair], overlaps: Sequence[Overlap]
) -> Iterator[str]:
    """What the figures that were found do not tell."""
    if not pairs and all(item.common for item in overlaps):
        yield "no picture is done twice: no pixels are compared"
    cards = {
        f"{pair.picture.run.label} on {one}, {pair.base.run.label} on {two}"
        for pair in pairs
        if not pair.difference.identical
        and (one := pair.picture.receipt.machine.device) != (two := pair.base.receipt.machine.device)
    }
    for where in sorted(cards):
        yield f"{where}: between two cards low bits of pixels differ whatever the setting"
    if any(row.closeness for row in rows) and not has_ssim():
        yield f"SSIM is not computed: scikit-image is {NOT_INSTALLED}; pip install 'run-batch[compare]'"
    by_run = told_by_run(rows)
    untimed = [named(row, run=row.index in by_run) for row in rows if row.costs.images and not row.costs.timed]
    if untimed:
        settings = ", ".join(dict.fromkeys(untimed))
        which = "no setting has a time: of each" if len(untimed) == len(rows) else f"no time of {settings}:"
        yield (
            f"{which} only the first image after loading is done, which is slower than the others. "
            "Render two images or more of each"
        )
