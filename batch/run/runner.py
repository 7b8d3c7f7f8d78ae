"""One run from top to bottom: read, plan, see what is missing, drive the engine, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from batch import engines, hub
from batch.base import disk, machine
from batch.base.errors import BatchError, CannotGoOn, DiskFull, DiskLow, FolderError, StopRun, UserError
from batch.base.text import duration, plural
from batch.manifest import Manifest, read_manifest
from batch.manifest.schema import RunOptions
from batch.memory import quantised
from batch.plan import Pins, Plan, batching, build_plan
from batch.plan.estimate import per_cost
from batch.plan.measuring import MEASURE
from batch.records import ErrorKind, Failure, Happening, HappeningKind, Task
from batch.run import tally
from batch.run.awake import awake
from batch.run.execute import Engine, render
from batch.run.limits import Gate, Limits
from batch.run.lookup import lookup
from batch.run.measure import Measuring
from batch.run.notify import Event as NotifyEvent
from batch.run.notify import Notifier
from batch.run.notify import check as check_targets
from batch.run.remaining import Standing, outlook, standing
from batch.run.tally import Desk
from batch.store import history, images, lock, rungs
from batch.store.events import EventLog
from batch.store.folder import RunFolder, runner_id
from batch.store.job import Origin, origin_of

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
    retry_oom: bool = False
    """Of a measurement: try again what ran out of memory, and what was skipped for it."""
    vram_limit: int | None = None
    """Bytes of the card that the process may take."""
    task_timeout: float | None = None
    """Seconds without a sign of life after which the worker counts as hung."""
    faults: tuple[Any, ...] = ()
    """Render with the stand-in session of :mod:`batch.render.fake`, which goes through these."""
    limits: Limits = field(default_factory=Limits)
    notify: tuple[str, ...] = ()
    """Whom to tell, besides those that the manifest names."""


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
    out_of_memory: int = 0
    """Of a measurement: images whose result is that they do not fit; they count as no failure."""
    skipped: int = 0
    """Of a measurement: images that were not tried since smaller ones did not fit."""
    seconds: float
    report: Report | None
    """None where it could not be written."""
    stopped: StopRun | None = None
    warnings: tuple[str, ...] = ()
    """What went wrong beside the images: no report, somebody who could not be told."""


class Watcher(tally.Watcher, Protocol):
    """Who is shown a run."""

    def started(self, plan: Plan, standing: Standing, folder: Path) -> None:
        """The work is known; nothing is rendered yet."""


def prepare(
    manifest_path: Path, options: Options, *, online: hub.Fetching | None = None
) -> tuple[Manifest, Plan, RunFolder]:
    """Read and plan. Touches nothing; with ``online`` the Hub is asked: see :func:`~batch.run.lookup.lookup`."""
    manifest = read_manifest(manifest_path, options.overrides)
    folder = RunFolder(options.out or Path("outputs") / manifest.name, runner_id())
    pins = folder.pins() if folder.exists() else Pins()
    found = lookup(
        manifest.folder,
        pins,
        online=online,
        allow_pickle=manifest.allow_pickle,
        trust_remote_code=manifest.trust_remote_code,
    )
    plan = _with_numerics(build_plan(manifest, found, pins), manifest.run, options)
    source = folder.origin().source if folder.exists() else ""
    if source and Path(source) != manifest_path.resolve():
        warning = (
            f"{folder.root} was last run from {source}; name the run folder with --out if this is another job"
        )
        plan = replace(plan, warnings=(*plan.warnings, warning))
    return manifest, plan, folder


def _with_numerics(plan: Plan, run: RunOptions, options: Options) -> Plan:
    """The plan with its batches and what is compiled; what was left to ``auto`` is pinned."""
    here = machine.look(options.devices)
    earlier = history.read().learned() if run.compile == "auto" and here.card else {}
    around = batching.Surroundings(
        card=here.card,
        memory=min(filter(None, (here.memory, options.vram_limit)), default=None),
        no_compiler=here.no_compiler,
        batch=run.batch,
        compile=run.compile,
        rate=lambda task: per_cost(task, (earlier,))[0],
    )
    choices = batching.choose(plan.tasks, plan.models, around, plan.pins.numerics)
    before = plan.pins.numerics
    pinned = {name: {**before.get(name, {}), **choice.pins} for name, choice in choices.items() if choice.pins}
    pins = replace(plan.pins, numerics={**before, **pinned})
    idle = sorted({item.model for item in choices.values() if run.batch not in (item.numerics.batch, "auto")})
    warnings = [f"run.batch has no effect on {name}: its pipeline is called whole" for name in idle]
    if run.compile == "on":
        plain = {item.model: item.why_compile for item in choices.values() if not item.numerics.compile}
        warnings += [f"run.compile has no effect on {name}: {why}" for name, why in plain.items()]
    warnings += [f"not here: {why}" for why in quantised.impossible(plan.tasks, card=here.card)]
    return replace(plan, pins=pins, choices=choices, warnings=(*plan.warnings, *warnings))


def run(manifest_path: Path, options: Options, watcher: Watcher, stop: Event) -> Result:
    """Render what is missing and write the report.

    Raises the errors of ``batch.base.errors`` for everything that keeps the run from starting; what ends it
    on the way stands in the result, and the report is written all the same.
    """
    online = hub.Fetching(tell=watcher, stop=stop)
    manifest, plan, folder = prepare(manifest_path, options, online=online)
    if not plan.tasks:
        raise UserError(f"{manifest_path}: the grid is empty: exclude leaves nothing to render")
    for name in sorted({task.format for task in plan.tasks}):
        images.require(name)
    plan, options = _for_its_kind(plan, options)
    _check_engine(options, manifest.run)
    if missing := quantised.impossible(plan.tasks, card=machine.look(options.devices).card):
        raise UserError(missing[0])
    notifier = check_targets((*manifest.notify, *options.notify))
    folder.check(plan.name, plan.kind)
    with disk.stops_when_full(folder.root), lock.hold(folder.state), awake():
        if folder.pins() != plan.pins and folder.exists():
            # Another run has drawn seeds since they were read; its draw counts.
            manifest, plan, folder = prepare(manifest_path, options, online=online)
        keep = options.keep_latents or manifest.output.keep_latents
        return carry_out(
            plan, folder, origin_of(manifest), options, watcher, stop, {"keep_latents": keep}, notifier=notifier
        )


def carry_out(
    plan: Plan,
    folder: RunFolder,
    origin: Origin,
    options: Options,
    watcher: Watcher,
    stop: Event,
    special: Mapping[str, Any],
    *,
    notifier: Notifier | None = None,
) -> Result:
    """Render what a plan's folder lacks and write the report. Call it under the folder's lock.

    ``special`` holds fields of :class:`~batch.records.RunSpec` beyond the usual ones.
    """
    start = perf_counter()
    notifier = notifier or Notifier(())
    folder.sweep()
    folder.begin(plan.name, plan.kind, origin, plan.tasks, plan.pins)
    measures = plan.kind == MEASURE
    if options.retry_failed or options.retry_oom:
        _forget_failures(folder, options, measures=measures)
    if options.redo_degraded or measures:
        rungs.forget(folder.state)
    where = standing(plan, folder, origin.run.retries, redo_degraded=options.redo_degraded)
    floor = origin.run.min_free_disk
    gate = Gate(
        options.limits,
        folder,
        where.to_render,
        min_free_disk=floor,
        learned=where.learned,
        history=history.read().learned(),
    )
    low = outlook(plan, where, folder, floor).warnings
    tally.unheard(lambda: watcher.started(replace(plan, warnings=(*plan.warnings, *low)), where, folder.root))
    log = EventLog(folder)
    log.begin(len(where.to_render))
    run = Desk(
        name=plan.name,
        folder=folder.root,
        total=len(plan.tasks),
        done_before=where.done,
        watcher=watcher,
        log=log,
        notifier=notifier,
        gate=gate,
        limit=origin.run.max_consecutive_failures,
        retries=origin.run.retries,
        measures=measures,
        skipped=dict(where.skipped),
    )
    settings = {**_settings(plan, origin.run, options, where), **special}
    stopped = _rendered(plan, folder, where.to_render, options, run, stop, settings)
    if not (options.faults or measures or options.vram_limit):  # offloading tells nothing of other runs
        history.record(gate.receipts)
    _log_end(run, stopped, perf_counter() - start)
    made, warning = _reported(folder)
    result = Result(
        folder=folder.root,
        total=len(plan.tasks),
        done_before=where.done,
        rendered=run.counts["done"],
        failed=run.failed + len(where.given_up),
        given_up=len(where.given_up) + run.given_up,
        out_of_memory=where.out_of_memory + run.counts[ErrorKind.OUT_OF_MEMORY],
        skipped=len(run.skipped),
        report=made,
        seconds=perf_counter() - start,
        stopped=stopped,
        warnings=(warning,) if warning else (),
    )
    _tell(plan.name, result, run)
    return replace(result, warnings=(*result.warnings, *notifier.close()))


def _rendered(
    plan: Plan,
    folder: RunFolder,
    to_render: Sequence[Task],
    options: Options,
    run: Desk,
    stop: Event,
    settings: Mapping[str, Any],
) -> StopRun | None:
    """Render what is missing; what stopped it."""
    engine = Engine(options.engine, options.devices, options.faults)
    try:
        if to_render:
            run.gate.check(to_render[0])  # before a model is loaded for nothing
        if plan.kind == MEASURE:
            pending = {task.id for task in to_render}
            Measuring(
                plan=plan, folder=folder, engine=engine, desk=run, stop=stop, settings=settings, pending=pending
            ).run()  # fmt: skip
            return None
        tasks, admit = to_render, run.gate.admit
        while tasks:
            for outcome in render(plan, tasks, folder, engine, run, stop=stop, settings=settings, admit=admit):
                run.finished(outcome)
            tasks = run.take_again()
    except DiskFull as error:
        return DiskLow(f"{error}. {run.gate.remedy()}")
    except StopRun as error:
        return error
    except BatchError as error:
        run.log.write(Happening(kind=HappeningKind.STOPPED, text=f"the run stopped: {error}"))
        raise
    finally:
        run.closed()
        folder.sweep(own=True)  # a worker that was killed while it saved has left its temp file
    return None


def _log_end(run: Desk, stopped: StopRun | None, seconds: float) -> None:
    """Before the report is written, which shows it."""
    text = f"{plural(run.counts['done'], 'image')} rendered in {duration(seconds)}"
    if stopped is None:
        run.log.write(Happening(kind=HappeningKind.END, text=text))
    else:
        run.log.write(Happening(kind=HappeningKind.STOPPED, text=f"the run stopped: {stopped}; {text}"))


def _tell(name: str, result: Result, run: Desk) -> None:
    """The end, for the log and for those who want to be told."""
    done = result.done_before + result.rendered
    title = f"{name}: {done} of {result.total} done" + (f", {result.failed} failed" if result.failed else "")
    text = f"{plural(result.rendered, 'image')} rendered in {duration(result.seconds)}"
    event: NotifyEvent = "failed" if result.failed else "done"
    if result.stopped is not None:
        text = f"stopped: {result.stopped}; {text}"
        event = "low-disk" if isinstance(result.stopped, DiskLow) else "stopped"
        event = "failed" if isinstance(result.stopped, CannotGoOn) else event
    run.notifier.send(event, title, text, run.figures(), result.folder)


def _for_its_kind(plan: Plan, options: Options) -> tuple[Plan, Options]:
    """Refuse what has no effect on this kind of run. A measurement is always made by the process engine."""
    if plan.kind != MEASURE:
        if options.retry_oom:
            raise UserError("--retry-oom has no effect on a render run: out of memory is tried again anyway")
        return plan, options
    refused = {
        "--engine local": (options.engine == "local", "every setting is measured in a fresh process"),
        "--redo-degraded": (options.redo_degraded, "nothing falls back, so nothing is degraded"),
        "--keep-latents": (options.keep_latents, "nothing decodes them again"),
    }
    for name, (given, why) in refused.items():
        if given:
            raise UserError(f"{name} has no effect on a measurement: {why}")
    if not options.engine and engines.default() == "local":
        warning = f"{engines.VARIABLE}=local does not hold for a measurement: every setting has a fresh process"
        plan = replace(plan, warnings=(*plan.warnings, warning))
    return plan, replace(options, engine="process")


def _forget_failures(folder: RunFolder, options: Options, *, measures: bool) -> None:
    """Failures that count no more; of a measurement, to run out of memory is none."""

    def keep(failure: Failure) -> bool:
        wanted = options.retry_oom if measures and failure.out_of_memory else options.retry_failed
        return not wanted

    folder.forget_failures(keep)


def _check_engine(options: Options, run: RunOptions) -> None:
    if (options.engine or engines.default()) != "local":
        return
    for name, value in (("--task-timeout", options.task_timeout), ("run.recycle_after", run.recycle_after)):
        if value:
            raise UserError(f"{name} has no effect with --engine local: there is no worker process to watch")


def _settings(plan: Plan, run: RunOptions, options: Options, where: Standing) -> dict[str, Any]:
    """Fields of :class:`~batch.records.RunSpec` that the manifest and the command line decide."""
    return {
        "fallback": options.fallback and run.on_oom == "fallback",
        "retries": run.retries,
        "redo": where.redo,
        "recycle_after": run.recycle_after,
        "task_timeout": options.task_timeout,
        "faults": options.faults,
        "numerics": {name: choice.numerics for name, choice in plan.choices.items()},
        "measure": plan.kind == MEASURE,
        "vram_limit": options.vram_limit,
    }


def _reported(folder: RunFolder) -> tuple[Report | None, str]:
    """The report, or why there is none: a full disk ends no run whose pictures are there."""
    from batch.report import write_report

    try:
        return write_report(folder), ""
    except (OSError, FolderError, UserError) as error:
        why = getattr(error, "strerror", None) or error
        return None, f"the report could not be written ({why}); 'report {folder.root}' makes up for it later"


def report(root: Path) -> Report:
    """Rebuild CSV and contact sheet from the receipts."""
    from batch.report import write_report

    folder = RunFolder(root, runner_id())
    folder.require()
    return write_report(folder)
