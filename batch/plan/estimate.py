"""What a run will take, judged by the images made so far, here or in earlier runs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from batch.catalogue import pag
from batch.plan.alike import load_key, pace_key, session_key
from batch.plan.known import WEAKER, EstimateSource, ExpectedSeconds, Known, weakest
from batch.plan.rates import learn
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.alike import SessionKey
    from batch.records.receipts import Receipt

BESIDES = 48 * 1024
"""Bytes of a picture's thumbnail, receipt and part of the report, in blocks of 4 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Expectations for the images that are to be rendered."""

    seconds: float | None
    """Loading and encoding with it. None: of at least one of the models nothing is known."""
    seconds_from: EstimateSource
    disk_bytes: int
    disk_from: EstimateSource
    peak_bytes: int | None
    """The largest memory any image of this run took so far, on the device or, without one, in the host."""
    devices: int | None = 1
    """So many share the work. None: nobody knows how many will, and the seconds are those of one."""

    @property
    def is_guess(self) -> bool:
        """Whether its seconds may be wrong by half."""
        return self.seconds_from == EstimateSource.GUESS


def cost(task: Task) -> int:
    """What denoising a task takes, in pixels times calls of the model."""
    return task.rendered_width * task.rendered_height * task.steps * pag.passes(task)


def disk_of(tasks: Iterable[Task], known: Known) -> int:
    """Bytes that these tasks take on the disk."""
    return sum(_disk(group, known) for group in groups(tasks))


def estimate(
    to_render: Sequence[Task],
    receipts: Collection[Receipt],
    known: Known | None = None,
    texts: Mapping[str, int] | None = None,
    *,
    loads: Callable[[Task], Hashable] = load_key,
) -> Estimate:
    """Judge ``to_render``, in its order, by the receipts of the same run, then by earlier runs on this machine.

    ``texts`` are to be encoded for them, by their ids; a change of what ``loads`` says of two tasks is a model to
    load.
    """
    known = known or Known(folder=learn(receipts))
    grouped = groups(to_render)
    taken = seconds_of(grouped, known)
    stages = [item.measurement.together for item in receipts]
    peaks = [item.device or item.rss or 0 for item in stages]
    bears = (known.per_pixel(group.sample)[1] for group in grouped)
    seconds = None
    if taken is not None:
        seconds = taken.value + before(to_render, known, texts or {}, loads) + known.saving(to_render[-1])
    return Estimate(
        seconds=seconds,
        seconds_from=EstimateSource.NOT_KNOWN if taken is None else taken.source,
        disk_bytes=sum(_disk(group, known) for group in grouped),
        disk_from=max(bears, key=WEAKER.index, default=EstimateSource.AS_PHOTOGRAPHS),
        peak_bytes=max(peaks, default=None),
    )


def rest(missing: Sequence[Task], receipts: Collection[Receipt]) -> ExpectedSeconds | None:
    """What a folder's missing images take, by what is there: of the machine that rendered last.

    None where of some of them nothing is known. Texts are not counted: which of them are kept is not known here.
    """
    if not missing or not receipts:
        return None
    machine = max(receipts, key=lambda item: item.started_at).machine.kind
    known = Known(
        folder=learn(item for item in receipts if item.machine.kind == machine), limit=machine.vram_limit
    )
    taken = seconds_of(groups(missing), known)
    return taken and replace(taken, value=taken.value + before(missing, known, {}) + known.saving(missing[-1]))


def seconds_of(grouped: Collection[CostGroup], known: Known) -> ExpectedSeconds | None:
    """What the images of these groups take; None where of some nothing is known, or where there are none."""
    taken = [(group.count, known.image(group.sample)) for group in grouped]
    found = [ExpectedSeconds(each.value * count, each.source) for count, each in taken if each is not None]
    if not found or len(found) < len(taken):
        return None
    return ExpectedSeconds(sum(item.value for item in found), weakest(found))


def before(
    tasks: Sequence[Task],
    known: Known,
    texts: Mapping[str, int],
    loads: Callable[[Task], Hashable] = load_key,
) -> float:
    """What loading and encoding takes for tasks in this order."""
    heads = [next(items) for _, items in groupby(tasks, key=loads)]
    return sum(map(known.load, heads)) + encoding(tasks, known, texts)


def encoding(tasks: Iterable[Task], known: Known, texts: Mapping[str, int]) -> float:
    """What the texts of these tasks take."""
    counts: dict[SessionKey, CostGroup] = {}
    for task in tasks if texts else ():
        if more := texts.get(task.id):
            counts.setdefault(session_key(task), CostGroup(task)).count += more
    return sum(known.text(group.sample) * group.count for group in counts.values())


@dataclass(slots=True)
class CostGroup:
    """Tasks that take as long: looked up once, however many there are."""

    sample: Task
    count: int = 0


def groups(tasks: Iterable[Task]) -> list[CostGroup]:
    """Tasks by what they take."""
    found: dict[Hashable, CostGroup] = {}
    for task in tasks:
        found.setdefault(pace_key(task), CostGroup(task)).count += 1
    return list(found.values())


def _disk(group: CostGroup, known: Known) -> int:
    pixels = group.sample.width * group.sample.height
    return round((pixels * known.per_pixel(group.sample)[0] + BESIDES) * group.count)
