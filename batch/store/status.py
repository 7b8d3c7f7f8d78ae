"""The state of a run folder by itself: what ``status`` shows, also while a run is going on there."""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from batch.base.orphans import Orphan
from batch.plan.estimate import rest
from batch.records.live import RESTING, LiveStatus
from batch.records.receipts import Failure
from batch.store import events, live, parts, shards, workers
from batch.store.causes import causes
from batch.store.folder import RunFolder
from batch.store.losses import PictureLoss
from batch.store.retried import tried_again

if TYPE_CHECKING:
    from batch.records.receipts import Receipt
    from batch.records.tasks import Task
    from batch.store.causes import Cause
    from batch.store.parts import IdleShard, ShardStanding
    from batch.store.receipts import Scan
    from batch.store.shards import Running


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
    """Seconds that the missing images will take, loading with it, as far as the folder tells: see ``eta_s``."""
    peak_bytes: int | None
    errors: tuple[str, ...] = field(default=())
    unfit: tuple[str, ...] = field(default=())
    """The same of what ran out of memory in a measurement."""
    causes: tuple[Cause, ...] = ()
    """Of what failed."""
    unfit_causes: tuple[Cause, ...] = ()
    """Of what ran out of memory in a measurement."""
    retried_causes: tuple[Cause, ...] = ()
    """Of images among the missing: they failed, and the run that goes on tries them again."""
    source: str = ""
    """The manifest of the last run, where it is known."""
    now: LiveStatus | None = None
    """What a run that goes on is at, as far as it says so."""
    shards: tuple[ShardStanding, ...] = ()
    """Those that are at work."""
    idle_shards: tuple[IdleShard, ...] = ()
    """Those that are not, and have images to render."""
    divided_by: int = 0
    """So many shards the folder was divided into last; 0 where it was not."""
    options: tuple[str, ...] = ()
    """What whoever goes on gives again, as the last run was started: ``--devices=0,1``."""
    devices: int = 1
    """The most that any run here had."""
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
    killed_shards: tuple[str, ...] = ()
    """Of shards, which did so (``2/8``)."""

    @property
    def to_render(self) -> int:
        """The missing ones, in the words of whoever still has the night before them."""
        return self.missing

    @property
    def eta_s(self) -> float | None:
        """Seconds that the rest takes, as whoever is at work says; else as far as the folder tells.

        Of several shards at work, until the last of them is done.
        """
        said = [left for item in self.shards if item.now is not None and (left := _left_s(item.now)) is not None]
        if not said and self.now is not None and (left := _left_s(self.now)) is not None:
            said = [left]
        return max(said) if said else self.rest_s

    @property
    def clock(self) -> float:
        """Seconds since 1970 by the clock of whoever runs; of another host, when it was heard last."""
        return time.time() if self.now is None else _clock(self.now)


def _clock(now: LiveStatus) -> float:
    return time.time() if now.host == platform.node() else now.updated


def _left_s(now: LiveStatus) -> float | None:
    """What a run that goes on says that its rest takes, from this moment on."""
    gone = 0.0 if now.state in RESTING else max(0.0, _clock(now) - now.updated)
    return None if now.rest_s is None else max(0.0, now.rest_s - gone)


def summarize(root: Path) -> Summary:
    """Read a run folder; works while a run is going on there."""
    folder = RunFolder(root)
    folder.require()
    runs, files = folder.running(), list(folder.image_files())
    running = runs[0].holder if runs else None
    scan, tasks, origin = folder.scan(), folder.tasks(), folder.origin()
    planned = {task.id for task in tasks}
    done = [scan.receipts[key] for key in planned if key in scan.receipts]
    failures = [scan.failures[task.id] for task in tasks if task.id in scan.failures]
    again = tried_again(failures, runs, tasks, origin.run.retries)
    over = [item for item in failures if item.task.id not in again]
    unfit, failed = [item for item in over if item.is_result], [item for item in over if not item.is_result]
    skipped = Counter(why for key, why in scan.skipped.items() if key in planned)
    log = events.read(folder)
    return Summary(
        name=folder.name(),
        root=str(root),
        total=len(planned),
        done=len(done),
        failed=len(failed),
        missing=len(planned) - len(done) - len(over) - skipped.total(),
        degraded=sum(bool(item.degraded_from) for item in done),
        cut=sum(item.cut for item in done),
        extra=sum(key not in planned for key in scan.receipts),
        touched=dict(Counter(str(what) for key, what in scan.touched.items() if key in planned)),
        unreadable_receipts=len(scan.unreadable),
        torn=scan.count(PictureLoss.TORN, planned),
        taken=scan.count(PictureLoss.TAKEN, planned),
        linked=scan.count(PictureLoss.LINKED, planned),
        orphaned=tuple(folder.unnamed(files, scan, tasks, saving=running is not None).orphans),
        out_of_memory=len(unfit),
        skipped=dict(skipped),
        running=running,
        seconds_per_image=_median_s(_timed(done)),
        timed=len(_timed(done)),
        peak_bytes=_peak(done),
        errors=_said(failed),
        unfit=_said(unfit),
        causes=causes(failed),
        unfit_causes=causes(unfit),
        retried_causes=causes(item for item in failures if item.task.id in again),
        source=origin.source,
        now=parts.now(folder.state) if running else None,
        shards=parts.at_work(runs),
        devices=events.devices(log),
        measures=any(task.repeat is not None for task in tasks),
        left_over=tuple(_left_over(folder)),
        **_history(log, running=running is not None),
        **_left(folder, runs, tasks, scan, over),
    )


class _History(TypedDict):
    happened: Mapping[str, int]
    last_happenings: tuple[events.LogEntry, ...]
    in_a_row: int
    killed: str
    killed_shards: tuple[str, ...]


def _history(log: Sequence[events.LogEntry], *, running: bool) -> _History:
    last, killed = events.last_run(log), [] if running else events.unfinished(log)
    return _History(
        happened=dict(Counter(event.kind for event in last)),
        last_happenings=tuple(last[-3:]),
        in_a_row=0 if running else events.in_a_row(events.stopped(log)),
        killed=killed[0].time if killed else "",
        killed_shards=tuple(sorted(entry.shard for entry in killed if entry.shard)),
    )


class _Left(TypedDict):
    rest_s: float | None
    idle_shards: tuple[IdleShard, ...]
    divided_by: int
    options: tuple[str, ...]


def _left(
    folder: RunFolder, runs: Sequence[Running], tasks: Sequence[Task], scan: Scan, over: Collection[Failure]
) -> _Left:
    """What is to be rendered, and by which commands."""
    settled = scan.receipts.keys() | {item.task.id for item in over}
    to_render = [task for task in tasks if task.id not in settled]
    measures = any(task.repeat is not None for task in tasks)
    judged = None if measures else rest(to_render, list(scan.receipts.values()))
    left = parts.Rest(tasks={task.id for task in to_render}, seconds=judged.value if judged else None)
    of = division.of if (division := shards.division(folder.state)) is not None else 0
    idle = parts.idle(folder.state, of, runs, tasks, left)
    if idle:
        ends = [item.eta_s for item in idle if item.eta_s is not None]
        rest_s = max(ends) if len(ends) == len(idle) else None
    else:
        rest_s = left.of(len(to_render), None if runs else live.read(folder.state)) if to_render else None
    return _Left(rest_s=rest_s, idle_shards=idle, divided_by=of, options=parts.options(folder.state, of))


def _timed(done: list[Receipt]) -> list[Receipt]:
    """As the report and the estimate count: the first image after a load tells nothing of the others."""
    return [item for item in done if not item.measurement.warmup] or done


def _median_s(timed: list[Receipt]) -> float | None:
    return statistics.median(item.measurement.total_s for item in timed) if timed else None


def _peak(done: Iterable[Receipt]) -> int | None:
    """The most memory that any image took, of the device or, without one, of the host."""
    stages = (item.measurement.together for item in done)
    return max((value for item in stages if (value := item.device or item.rss) is not None), default=None)


def _left_over(folder: RunFolder) -> Iterator[Orphan]:
    """Workers of earlier runs, of its shards too, that are still there."""
    for state in (folder.state, *(path for _, path in shards.states(folder.state))):
        yield from workers.left_over(state)


def _said(failures: Iterable[Failure]) -> tuple[str, ...]:
    return tuple(f"{item.task.name}: {item.error.stage}: {item.error.message}" for item in failures)
