"""Where a plan stands in its run folder, and what it would take: what ``plan`` shows and ``run`` sets out from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import disk, hardware
from batch.base.text import plural
from batch.hub.cache import hub_cache
from batch.plan import measuring
from batch.plan.alike import setting_key
from batch.plan.estimate import estimate
from batch.plan.known import Known
from batch.records.kinds import RunKind
from batch.records.tasks import Task
from batch.run.crew import ALONE, together
from batch.run.knowing import knowing, of_seats, texts_left
from batch.run.limits import disk_warning
from batch.store.losses import PictureLoss
from batch.store.pictures import image_path
from batch.store.receipts import Scan

if TYPE_CHECKING:
    from batch.plan.estimate import Estimate
    from batch.plan.plan import Plan
    from batch.plan.rates import Rates
    from batch.records.events import Seat
    from batch.store.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Where a plan stands in its run folder: what a run would do."""

    done: int
    to_render: tuple[Task, ...]
    redo: frozenset[str] = frozenset()
    """Of these, the ids of those that are done: with a smaller memory setting, or touched by somebody."""
    touched: int = 0
    """Pictures among those done that somebody moved or changed."""
    torn: int = 0
    """Of those to render, images whose file is no picture any more."""
    taken: int = 0
    """Of those to render, images in whose place another picture lies."""
    linked: int = 0
    """Of those to render, images in whose place a link lies."""
    in_the_way: frozenset[str] = frozenset()
    """Finished pictures that somebody moved to where one that is to be rendered will lie."""
    given_up: tuple[Task, ...]
    """Failed as often as ``retries`` allows."""
    failed_before: int
    extra: int
    """Images in the folder that the plan does not name."""
    out_of_memory: int = 0
    """Of a measurement: images whose result is that they do not fit."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Of a measurement: ids that are not tried, and why."""
    estimate: Estimate | None = None
    known: Known = field(default_factory=Known)
    """What the images that are done, and earlier runs, tell about the others."""
    texts: Mapping[str, int] = field(default_factory=dict)
    """How many texts are to be encoded for images, by their ids: see :func:`batch.run.knowing.texts_left`."""
    crew: Sequence[Seat] = ALONE
    """The seats that render it, as far as they are known before they answer; () where they are not."""
    scan: Scan = field(default_factory=Scan)
    """What the folder held."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of files that are not as they were written."""
        said = []
        if self.torn:
            said.append(f"{plural(self.torn, 'picture')} damaged: rendered again; what is there is kept in trash/")
        if self.taken:
            places = plural(self.taken, "place")
            said.append(f"{places} taken by another picture: it steps aside as NAME-2 when the image is saved")
        if self.linked:
            said.append(f"{plural(self.linked, 'picture')} behind a link: rendered again; the link goes to trash/")
        if self.touched:
            said.append(
                f"{plural(self.touched, 'finished picture')} edited or moved since: left alone "
                "(--restore renders all of them again)"
            )
        return tuple(said)


def remaining(
    plan: Plan,
    folder: RunFolder,
    retries: int,
    earlier: Rates,
    *,
    redo_degraded: bool = False,
    restore: bool = False,
    devices: str | None = None,
    crew: Sequence[Seat] = ALONE,
    whole: Plan | None = None,
) -> Remaining:
    """Compare a plan with what its folder holds; ``earlier`` is what earlier runs tell of times and sizes.

    A picture that somebody touched is done, and only ``restore`` renders it again. ``crew`` are the seats that
    render, as :func:`batch.run.crew.expected` knows them. ``whole`` is the plan of which
    this one is a part, where it is one.
    """
    scan = folder.scan() if folder.exists() else Scan()
    redo = {
        key for key, item in scan.receipts.items() if redo_degraded and item.degraded_from
    } - scan.touched.keys()
    redo |= scan.touched.keys() if restore else set()
    missing = [task for task in plan.tasks if task.id not in scan.receipts or task.id in redo]
    attempts = {key: item.attempts for key, item in scan.failures.items()}
    given_up = [task for task in missing if attempts.get(task.id, 0) >= retries]
    planned = {task.id for task in plan.tasks}
    named = planned if whole is None else {task.id for task in whole.tasks}
    to_render = tuple(task for task in missing if attempts.get(task.id, 0) < retries)
    if plan.kind == RunKind.MEASURE:
        return _to_measure(plan, scan, given_up, earlier)
    receipts = scan.receipts.values()
    known = knowing(plan, receipts, earlier)
    texts = texts_left(to_render, plan, hardware.kind(devices))
    alone = estimate(to_render, receipts, known, texts)
    return Remaining(
        done=len(plan.tasks) - len(missing),
        to_render=to_render,
        redo=frozenset(redo).intersection(planned),
        touched=len(scan.touched.keys() & planned - redo),
        torn=scan.count(PictureLoss.TORN, planned),
        taken=scan.count(PictureLoss.TAKEN, planned),
        linked=scan.count(PictureLoss.LINKED, planned),
        in_the_way=_in_the_way(to_render, scan),
        given_up=tuple(given_up),
        failed_before=sum(task.id in scan.failures for task in missing),
        extra=len(scan.receipts.keys() - named),
        estimate=together(alone, to_render, texts, known, of_seats(plan, receipts, known), crew),
        known=known,
        texts=texts,
        crew=crew,
        scan=scan,
    )


def _to_measure(plan: Plan, scan: Scan, given_up: Sequence[Task], earlier: Rates) -> Remaining:
    """What ran out of memory is settled; ``given_up`` has failed too often, for whatever reason."""
    failed = [task for task in given_up if not scan.failures[task.id].is_result]
    left = measuring.left(
        plan.tasks,
        {key: item.measurement.warmup for key, item in scan.receipts.items()},
        scan.failures,
        {task.id for task in failed},
        plan.images_per_call,
    )
    rendered, planned = {task.id for task in left.tasks}, {task.id for task in plan.tasks}
    known = knowing(plan, scan.receipts.values(), earlier)
    return Remaining(
        done=sum(task.id in scan.receipts and task.id not in rendered for task in plan.tasks),
        to_render=left.tasks,
        given_up=tuple(task for task in failed if task.id not in rendered),
        failed_before=sum(
            task.id in scan.failures and not scan.failures[task.id].is_result for task in plan.tasks
        ),
        extra=sum(key not in planned for key in scan.receipts),
        out_of_memory=left.out_of_memory,
        skipped=left.skipped,
        touched=len(scan.touched.keys() & planned),
        torn=scan.count(PictureLoss.TORN, planned),
        taken=scan.count(PictureLoss.TAKEN, planned),
        linked=scan.count(PictureLoss.LINKED, planned),
        in_the_way=_in_the_way(left.tasks, scan),
        estimate=estimate(left.tasks, scan.receipts.values(), known, loads=setting_key),
        known=known,
        scan=scan,
    )


def _in_the_way(tasks: Iterable[Task], scan: Scan) -> frozenset[str]:
    places = {image_path(task): task.id for task in tasks} if scan.touched else {}
    paths = {key: scan.receipts[key].file.path for key in scan.touched}
    return frozenset(path for key, path in paths.items() if places.get(path, key) != key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a run would take, and what there is for it."""

    estimate: Estimate
    free_bytes: int | None
    """On the disk of the run folder; None where that cannot be asked."""
    models_in: Path = Path()
    """Where models of the Hub lie, or will."""
    warnings: tuple[str, ...] = ()


def outlook(
    plan: Plan,
    where: Remaining | None,
    folder: RunFolder,
    earlier: Rates,
    min_free_disk: int,
    crew: Sequence[Seat] = ALONE,
) -> Outlook:
    """Judge a plan before it is run; of one whose ids are not known yet, every task."""
    expected = where.estimate if where else None
    if expected is None:
        known = knowing(plan, (), earlier)
        alone = estimate(plan.tasks, (), known)
        expected = together(alone, plan.tasks, {}, known, of_seats(plan, (), known), crew)
    free = disk.free(folder.root)
    if free is None:
        return Outlook(estimate=expected, free_bytes=None, models_in=hub_cache())
    low = disk_warning(expected, free, min_free_disk)
    warnings = (low,) if low else ()
    return Outlook(estimate=expected, free_bytes=free, models_in=hub_cache(), warnings=warnings)
