"""One run from top to bottom: read, plan, see what is missing, drive the engine, report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from batch import drive, hub
from batch.drive import Engine, render
from batch.errors import CannotGoOn, StopRun, UserError
from batch.manifest import Manifest, read_manifest
from batch.manifest.schema import RunOptions
from batch.plan import Pins, Plan, build_plan
from batch.plan.estimate import Estimate, estimate
from batch.records import Happening, Outcome, Task
from batch.store import events, images, lock, rungs
from batch.store.folder import Origin, RunFolder, Scan, origin_of, runner_id

if TYPE_CHECKING:
    from batch.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line adds to a manifest."""

    out: Path | None = None
    overrides: tuple[str, ...] = ()
    devices: str | None = None
    engine: str = ""
    """Empty takes the default."""
    retry_failed: bool = False
    keep_latents: bool = False
    fallback: bool = True
    """Out of memory: go on with a smaller setting, where the manifest does not forbid it."""
    redo_degraded: bool = False
    task_timeout: float | None = None
    """Seconds without a sign of life after which the worker counts as hung."""
    faults: tuple[Any, ...] = ()
    """Render with the stand-in session of :mod:`batch.render.fake`, which goes through these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a plan stands in its run folder: what a run would do."""

    done: int
    to_render: tuple[Task, ...]
    redo: frozenset[str] = frozenset()
    """Of these, the ids of those that are done, with a smaller memory setting."""
    given_up: tuple[Task, ...]
    """Failed as often as ``retries`` allows."""
    failed_before: int
    extra: int
    """Images in the folder that the plan does not name."""
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended."""

    folder: Path
    total: int
    done_before: int
    rendered: int
    failed: int
    given_up: int
    """Of the failed ones, those that have failed as often as ``retries`` allows."""
    seconds: float
    report: Report
    stopped: StopRun | None = None


class Watcher(drive.Watcher, Protocol):
    """What a run tells while it goes on."""

    def started(self, plan: Plan, standing: Standing, folder: Path) -> None:
        """The work is known; nothing is rendered yet."""

    def finished(self, outcome: Outcome) -> None:
        """One image is done or has failed."""

    def closed(self) -> None:
        """No more will come: free the terminal."""


def prepare(manifest_path: Path, options: Options, *, online: bool) -> tuple[Manifest, Plan, RunFolder]:
    """Read and plan. Touches nothing; ``online`` allows asking the Hub for a revision."""
    manifest = read_manifest(manifest_path, options.overrides)
    folder = RunFolder(options.out or Path("outputs") / manifest.name, runner_id())
    pins = folder.pins() if folder.exists() else Pins()
    lookup = hub.lookup(
        manifest.folder,
        pins,
        online=online,
        allow_pickle=manifest.allow_pickle,
        trust_remote_code=manifest.trust_remote_code,
    )
    plan = build_plan(manifest, lookup, pins)
    source = folder.origin().source if folder.exists() else ""
    if source and Path(source) != manifest_path.resolve():
        warning = (
            f"{folder.root} was last run from {source}; name the run folder with --out if this is another job"
        )
        plan = replace(plan, warnings=(*plan.warnings, warning))
    return manifest, plan, folder


def standing(
    plan: Plan, folder: RunFolder, retries: int, *, retry_failed: bool = False, redo_degraded: bool = False
) -> Standing:
    """Compare a plan with what its folder holds."""
    scan = folder.scan() if folder.exists() else Scan()
    redo = {key for key, item in scan.receipts.items() if redo_degraded and item.degraded_from}
    missing = [task for task in plan.tasks if task.id not in scan.receipts or task.id in redo]
    attempts = {} if retry_failed else {key: item.attempts for key, item in scan.failures.items()}
    given_up = [task for task in missing if attempts.get(task.id, 0) >= retries]
    planned = {task.id for task in plan.tasks}
    to_render = tuple(task for task in missing if attempts.get(task.id, 0) < retries)
    return Standing(
        done=len(plan.tasks) - len(missing),
        to_render=to_render,
        redo=frozenset(redo).intersection(planned),
        given_up=tuple(given_up),
        failed_before=sum(task.id in scan.failures for task in missing),
        extra=sum(key not in planned for key in scan.receipts),
        estimate=estimate(to_render, scan.receipts.values()),
    )


def run(manifest_path: Path, options: Options, watcher: Watcher, stop: Event) -> Result:
    """Render what is missing and write the report.

    Raises the errors of ``batch.errors`` for everything that keeps the run from starting; what ends it
    on the way stands in the result, and the report is written all the same.
    """
    manifest, plan, folder = prepare(manifest_path, options, online=True)
    if not plan.tasks:
        raise UserError(f"{manifest_path}: the grid is empty: exclude leaves nothing to render")
    for name in sorted({task.format for task in plan.tasks}):
        images.require(name)
    folder.check(plan.name, plan.kind)
    with lock.hold(folder.state):
        if folder.pins() != plan.pins and folder.exists():
            # Another run has drawn seeds since they were read; its draw counts.
            manifest, plan, folder = prepare(manifest_path, options, online=True)
        keep = options.keep_latents or manifest.output.keep_latents
        return carry_out(plan, folder, origin_of(manifest), options, watcher, stop, {"keep_latents": keep})


def carry_out(
    plan: Plan,
    folder: RunFolder,
    origin: Origin,
    options: Options,
    watcher: Watcher,
    stop: Event,
    special: Mapping[str, Any],
) -> Result:
    """Render what a plan's folder lacks and write the report. Call it under the folder's lock.

    ``special`` holds fields of :class:`~batch.records.RunSpec` beyond the usual ones.
    """
    from batch.report import write_report

    start = perf_counter()
    folder.sweep()
    folder.begin(plan.name, plan.kind, origin, plan.tasks, plan.pins)
    if options.retry_failed:
        folder.forget_failures()
    if options.redo_degraded:
        rungs.forget(folder.state)
    where = standing(plan, folder, origin.run.retries, redo_degraded=options.redo_degraded)
    watcher.started(plan, where, folder.root)
    counter = _Counter(watcher, origin.run.max_consecutive_failures, origin.run.retries)
    engine = Engine(options.engine, options.devices, options.faults)
    settings = {**_settings(origin.run, options, where), **special}
    stopped = None
    try:
        for tasks in (where.to_render, counter.again):
            for outcome in render(plan, tasks, folder, engine, watcher, stop=stop, settings=settings):
                counter.finished(outcome)
    except StopRun as error:
        stopped = error
    finally:
        watcher.closed()
    return Result(
        folder=folder.root,
        total=len(plan.tasks),
        done_before=where.done,
        rendered=counter.counts["done"],
        failed=counter.counts["failed"] + len(where.given_up),
        given_up=len(where.given_up) + counter.given_up,
        report=write_report(folder),
        seconds=perf_counter() - start,
        stopped=stopped,
    )


def _settings(run: RunOptions, options: Options, where: Standing) -> dict[str, Any]:
    """Fields of :class:`~batch.records.RunSpec` that the manifest and the command line decide."""
    return {
        "min_free_disk": run.min_free_disk,
        "fallback": options.fallback and run.on_oom == "fallback",
        "retries": run.retries,
        "redo": where.redo,
        "recycle_after": run.recycle_after,
        "task_timeout": options.task_timeout,
        "faults": options.faults,
    }


@dataclass(slots=True)
class _Counter:
    watcher: Watcher
    limit: int
    """So many failures one after the other end the run."""
    retries: int
    given_up: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0
    again: list[Task] = field(default_factory=list)
    """Rendered, but not written: worth another try at the end of the same run."""

    def finished(self, outcome: Outcome) -> None:
        failure = outcome.failure
        if failure is not None and failure.error.stage == "save" and failure.attempts < self.retries:
            self.again.append(failure.task)
            text = f"{failure.task.name} could not be written ({failure.error.message}): again at the end"
            self.watcher.happened(Happening(kind="not-written", text=text, task=outcome.key))
        else:
            self.counts[outcome.status] += 1
            self.watcher.finished(outcome)
        if failure is not None and failure.attempts >= self.retries:
            self.given_up += 1
        self.in_a_row = 0 if outcome.status == "done" else self.in_a_row + 1
        if self.in_a_row >= self.limit:
            reason = f": {outcome.error.message}" if outcome.error else ""
            raise CannotGoOn(f"{self.in_a_row} images failed one after the other{reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The state of a run folder by itself."""

    name: str
    total: int
    done: int
    failed: int
    missing: int
    degraded: int
    """Done with a smaller memory setting than the one asked for."""
    extra: int
    running: Mapping[str, object] | None
    seconds_per_image: float | None
    peak_bytes: int | None
    errors: tuple[str, ...] = field(default=())
    happened: Mapping[str, int] = field(default_factory=dict)
    """How often what happened in the last run, by kind."""
    last_happenings: tuple[events.Event, ...] = ()

    @property
    def eta_s(self) -> float | None:
        """Seconds the missing images will take at the rate so far."""
        return None if self.seconds_per_image is None else self.seconds_per_image * self.missing


def summarize(root: Path) -> Summary:
    """Read a run folder; works while a run is going on there."""
    folder = RunFolder(root)
    folder.require()
    scan, tasks = folder.scan(), folder.tasks()
    planned = {task.id for task in tasks}
    done = [scan.receipts[key] for key in planned if key in scan.receipts]
    failures = [scan.failures[key] for key in planned if key in scan.failures]
    peaks = [
        value
        for receipt in done
        if (value := receipt.measurement.peak("device") or receipt.measurement.peak("rss")) is not None
    ]
    history = events.last_run(events.read(folder))
    return Summary(
        name=folder.name(),
        total=len(planned),
        done=len(done),
        failed=len(failures),
        missing=len(planned) - len(done) - len(failures),
        degraded=sum(bool(item.degraded_from) for item in done),
        extra=sum(key not in planned for key in scan.receipts),
        running=lock.holder(folder.state),
        seconds_per_image=statistics.median(item.measurement.total_s for item in done) if done else None,
        peak_bytes=max(peaks, default=None),
        errors=tuple(f"{item.task.name}: {item.error.stage}: {item.error.message}" for item in failures),
        happened=dict(Counter(event.kind for event in history)),
        last_happenings=tuple(history[-3:]),
    )


def report(root: Path) -> Report:
    """Rebuild CSV and contact sheet from the receipts."""
    from batch.report import write_report

    folder = RunFolder(root, runner_id())
    folder.require()
    return write_report(folder)
