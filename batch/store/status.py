"""The state of a run folder by itself: what ``status`` shows, also while a run is going on there."""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.orphans import Orphan
from batch.plan.estimate import rest
from batch.records.live import RESTING, LiveStatus, RunState
from batch.records.receipts import Failure
from batch.records.shard import Shard
from batch.store import events, live, shards, workers
from batch.store.causes import causes
from batch.store.folder import RunFolder
from batch.store.losses import PictureLoss

if TYPE_CHECKING:
    from batch.records.receipts import Receipt
    from batch.records.tasks import Task
    from batch.store.causes import Cause
    from batch.store.shards import Running


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStanding:
    """One of several runs that divide the folder."""

    shard: str
    """``2/8``."""
    running: Mapping[str, object]
    now: LiveStatus | None = None
    """What it is at, as far as it says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The state of a run folder by itself."""

    name: str
    root: str
    total: int
    done: int
    failed: int
    missing: int
    degraded: int
    """Done with a smaller memory setting than the one asked for."""
    cut: int
    """Images whose texts were not read to the end."""
    extra: int
    touched: Mapping[str, int] = field(default_factory=dict)
    """What somebody did to pictures that are done, and to how many."""
    unreadable_receipts: int = 0
    """Receipts that are damaged: their images are rendered again."""
    torn: int = 0
    """Of the missing, images whose file is there and is no picture any more: they are rendered again."""
    taken: int = 0
    """Of the missing, images in whose place another picture lies."""
    linked: int = 0
    """Of the missing, images in whose place a link lies."""
    orphaned: tuple[str, ...] = ()
    """Image files of no picture that is known, relative to the run folder."""
    out_of_memory: int = 0
    """Of a measurement: images whose result is that they do not fit; not among the failed."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Of a measurement: why images are not tried, and how many."""
    running: Mapping[str, object] | None
    seconds_per_image: float | None
    """The median of those that are ``timed``."""
    timed: int = 0
    rest_s: float | None = None
    """Seconds that the missing images will take, loading with it; None where nothing tells."""
    peak_bytes: int | None
    errors: tuple[str, ...] = field(default=())
    unfit: tuple[str, ...] = field(default=())
    """The same of what ran out of memory in a measurement."""
    causes: tuple[Cause, ...] = ()
    """Of what failed."""
    unfit_causes: tuple[Cause, ...] = ()
    """Of what ran out of memory in a measurement."""
    source: str = ""
    """The manifest of the last run, where it is known."""
    now: LiveStatus | None = None
    """What a run that goes on is at, as far as it says so."""
    shards: tuple[ShardStanding, ...] = ()
    """Those that are at work."""
    idle_shards: Mapping[str, int] = field(default_factory=dict)
    """While others are at work, those that are not (``2/8``), and how many images each has to render."""
    divided_by: int = 0
    """So many shards the folder was divided into last; 0 where it was not."""
    happened: Mapping[str, int] = field(default_factory=dict)
    """How often what happened in the last run, by kind."""
    last_happenings: tuple[events.LogEntry, ...] = ()
    measures: bool = False
    """A measurement, whose processes start and load for every setting: the time of its images says little."""
    left_over: tuple[Orphan, ...] = ()
    """Workers of earlier runs that are still there."""
    in_a_row: int = 0
    """So many failures one after the other broke the last run off."""
    killed: str = ""
    """When the last run began, if it ended without a word."""

    @property
    def to_render(self) -> int:
        """The missing ones, in the words of whoever still has the night before them."""
        return self.missing

    @property
    def eta_s(self) -> float | None:
        """Seconds that the rest takes, as the run itself says; else as far as its folder tells."""
        if self.now is not None and self.now.rest_s is not None:
            gone = 0.0 if self.now.state in RESTING else max(0.0, self.clock - self.now.updated)
            return max(0.0, self.now.rest_s - gone)
        return self.rest_s

    @property
    def clock(self) -> float:
        """Seconds since 1970 by the clock of whoever runs; of another host, when it was heard last."""
        if self.now is None or self.now.host == platform.node():
            return time.time()
        return self.now.updated


def summarize(root: Path) -> Summary:
    """Read a run folder; works while a run is going on there."""
    folder = RunFolder(root)
    folder.require()
    runs, files = folder.running(), list(folder.image_files())
    running = runs[0].holder if runs else None
    scan, tasks = folder.scan(), folder.tasks()
    planned = {task.id for task in tasks}
    done = [scan.receipts[key] for key in planned if key in scan.receipts]
    failures = [scan.failures[task.id] for task in tasks if task.id in scan.failures]
    unfit = [item for item in failures if item.is_result]
    skipped = Counter(why for key, why in scan.skipped.items() if key in planned)
    to_render = [task for task in tasks if task.id not in scan.receipts.keys() | scan.failures.keys()]
    measures = any(task.repeat is not None for task in tasks)
    said = None if running else _last_said(folder.state, len(to_render))
    left = None if measures or said is not None else rest(to_render, list(scan.receipts.values()))
    log, saving = events.read(folder), running is not None
    history = events.last_run(log)
    return Summary(
        name=folder.name(),
        root=str(root),
        total=len(planned),
        done=len(done),
        failed=len(failures) - len(unfit),
        missing=len(planned) - len(done) - len(failures) - skipped.total(),
        degraded=sum(bool(item.degraded_from) for item in done),
        cut=sum(item.cut for item in done),
        extra=sum(key not in planned for key in scan.receipts),
        touched=dict(Counter(str(what) for key, what in scan.touched.items() if key in planned)),
        unreadable_receipts=len(scan.unreadable),
        torn=scan.count(PictureLoss.TORN, planned),
        taken=scan.count(PictureLoss.TAKEN, planned),
        linked=scan.count(PictureLoss.LINKED, planned),
        orphaned=tuple(folder.unnamed(files, scan, tasks, saving=saving).orphans),
        out_of_memory=len(unfit),
        skipped=dict(skipped),
        running=running,
        seconds_per_image=_median_s(_timed(done)),
        timed=len(_timed(done)),
        rest_s=said if said is not None else left.value if left else None,
        peak_bytes=_peak(done),
        errors=_said(item for item in failures if not item.is_result),
        unfit=_said(unfit),
        causes=causes(item for item in failures if not item.is_result),
        unfit_causes=causes(unfit),
        source=folder.origin().source,
        now=_now(folder.state) if running else None,
        shards=tuple(_standing(item) for item in runs if item.shard is not None),
        idle_shards=_idle(runs, tasks, to_render),
        divided_by=division.of if (division := shards.division(folder.state)) is not None else 0,
        happened=dict(Counter(event.kind for event in history)),
        last_happenings=tuple(history[-3:]),
        measures=measures,
        left_over=tuple(_left_over(folder)),
        in_a_row=0 if running else events.in_a_row(events.stopped(log)),
        killed="" if running else events.unfinished(log),
    )


def _timed(done: list[Receipt]) -> list[Receipt]:
    """As the report and the estimate count: the first image after a load tells nothing of the others."""
    return [item for item in done if not item.measurement.warmup] or done


def _median_s(timed: list[Receipt]) -> float | None:
    return statistics.median(item.measurement.total_s for item in timed) if timed else None


def _idle(runs: Iterable[Running], tasks: list[Task], to_render: Iterable[Task]) -> dict[str, int]:
    """See :attr:`Summary.idle_shards`."""
    at_work = {run.shard for run in runs if run.shard is not None}
    left = {task.id for task in to_render}
    found: dict[str, int] = {}
    for of in {shard.of for shard in at_work}:
        for shard in (Shard(number, of) for number in range(1, of + 1)):
            if shard not in at_work and (count := sum(task.id in left for task in shard.part(tasks))):
                found[str(shard)] = count
    return found


def _peak(done: Iterable[Receipt]) -> int | None:
    """The most memory that any image took, of the device or, without one, of the host."""
    stages = (item.measurement.together for item in done)
    return max((value for item in stages if (value := item.device or item.rss) is not None), default=None)


def _left_over(folder: RunFolder) -> Iterator[Orphan]:
    """Workers of earlier runs, of its shards too, that are still there."""
    for state in (folder.state, *(path for _, path in shards.states(folder.state))):
        yield from workers.left_over(state)


def _standing(run: Running) -> ShardStanding:
    return ShardStanding(shard=str(run.shard), running=run.holder, now=_now(run.state))


def _now(state: Path) -> LiveStatus | None:
    """What the run says of itself; None where it does not."""
    found = live.read(state)
    return found if found is not None and found.state != RunState.ENDED else None


def _last_said(state: Path, to_render: int) -> float | None:
    """What the last run said at its end that the rest takes, its texts with it; None where it is another rest."""
    found = live.read(state)
    return found.rest_s if found and found.state == RunState.ENDED and found.to_render == to_render else None


def _said(failures: Iterable[Failure]) -> tuple[str, ...]:
    return tuple(f"{item.task.name}: {item.error.stage}: {item.error.message}" for item in failures)
