"""One run from top to bottom: read, plan, see what is missing, drive the engine, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from batch import engines
from batch.base import disk
from batch.base.cache import default_folder
from batch.base.errors import UserError
from batch.hub.downloads import FetchOptions
from batch.records.events import Began, Crew, Happening, Listener, Preparing
from batch.records.kinds import HappeningKind, RunKind, TextsKept
from batch.records.spec import RunSpec
from batch.render.diffusers_backend import Diffusers
from batch.run import crew
from batch.run.awake import awake
from batch.run.course import Course
from batch.run.knowing import of_seats
from batch.run.limits import Gate
from batch.run.live import LiveListener
from batch.run.no_effect import ignored, refuse_what_has_no_effect
from batch.run.notifier import Notifier
from batch.run.obeying import obeying
from batch.run.pace import Pace
from batch.run.prepare import prepare
from batch.run.remaining import outlook, remaining
from batch.run.tally import Tally
from batch.run.targets import check as check_targets
from batch.store import history, joining, rungs, shards, workers
from batch.store.events import EventLog
from batch.store.folder import RunFolder, runner_id
from batch.store.images.encoders import require
from batch.store.job import origin_of

if TYPE_CHECKING:
    from batch.base.orphans import Orphan
    from batch.plan.plan import Plan
    from batch.plan.rates import Rates
    from batch.report.book import Report
    from batch.report.sheet.chosen import Choice
    from batch.run.options import Options, Result
    from batch.run.prepare import Prepared
    from batch.run.remaining import Remaining
    from batch.run.steering import Steering
    from batch.store.job import Origin


def run(manifest_path: Path, options: Options, listener: Listener, stop: Steering) -> Result:
    """Render what is missing and write the report.

    Raises the errors of ``batch.base.errors`` for everything that keeps the run from starting; what ends it
    on the way stands in the result, and the report is written all the same.
    """
    listener.on(Preparing("reading the manifest and looking for its models"))
    online = FetchOptions(listener=listener, stop=stop)
    job = check(manifest_path, options, online)
    folder = job.folder
    notifier = check_targets((*job.manifest.notify, *options.notify))
    with disk.stops_when_full(folder.root), folder.hold(), obeying(stop, folder), awake():
        job = _agreed(job, lambda: prepare(manifest_path, options, online=online))
        plan, origin = job.plan, origin_of(job.manifest)
        return carry_out(plan, folder, origin, options, listener, stop, earlier=job.earlier, notifier=notifier)


def _agreed(job: Prepared, again: Callable[[], Prepared]) -> Prepared:
    """A job with the pins that its folder holds: another run may have drawn seeds since they were read."""
    folder = job.folder
    if folder.shard is None:
        return again() if folder.exists() and folder.pins() != job.before else job
    while not joining.join(folder, job.before, job.plan, origin_of(job.manifest)):
        job = replace(again(), folder=folder)
    return job


def check(manifest_path: Path, options: Options, online: FetchOptions) -> Prepared:
    """A job that may begin; raises what :func:`run` does before it touches anything."""
    job = prepare(manifest_path, options, online=online)
    plan = job.plan
    if not plan.tasks:
        raise UserError(f"{manifest_path}: the grid is empty: exclude leaves nothing to render")
    for name in sorted({task.format for task in plan.tasks}):
        require(name)
    refuse_what_has_no_effect(plan, options, job.manifest.run)
    if job.impossible:
        raise UserError(job.impossible[0])
    job.folder.check(plan.name, plan.kind)
    if plan.kind == RunKind.RENDER and not job.folder.exists():  # else there may be nothing left to render
        engines.check(options.engine_name, options.devices, options.ray_address)
    return job


def carry_out(
    plan: Plan,
    folder: RunFolder,
    origin: Origin,
    options: Options,
    listener: Listener,
    stop: Steering,
    *,
    earlier: Rates,
    notifier: Notifier | None = None,
    latents: Mapping[str, str] | None = None,
) -> Result:
    """Render what a plan's folder lacks and write the report. Call it under the folder's lock.

    ``earlier`` is what images took in earlier runs. ``latents`` are files of kept latents by task id, which are
    decoded in place of rendering.
    """
    listener.on(Preparing("looking at what is done"))
    start, trash = perf_counter(), frozenset(folder.trash.with_pictures())
    ended = [_ended_worker(*item) for item in _end_left_over(folder)]  # first: they may still write
    if folder.shard is None:  # else it has joined the others, which are at work
        folder.sweep()
        folder.begin(plan.name, plan.kind, origin, plan.tasks, plan.pins)
    whole, plan = plan, plan.part(folder.shard)
    left = _left(whole, plan, folder, origin, options, earlier)
    gate = _gate(plan, folder, origin, options, left, decodes=latents is not None)
    live = LiveListener(folder, listener, left, whole.tasks, options.lasting)
    measures, recycled = plan.kind == RunKind.MEASURE, origin.run.recycle_after
    tally = Tally(
        plan=plan,
        folder=folder,
        run=origin.run,
        left=left,
        gate=gate,
        pace=Pace(left.to_render, gate, left.texts, recycled, measures=measures, crew=left.crew),
        listener=stop.follow(live, origin.run, options),
        notifier=notifier or Notifier(()),
        log=EventLog(folder),
    )
    expected = outlook(plan, left, folder, earlier, origin.run.min_free_disk)
    note = (folder.held.note,) if folder.held and folder.held.note else ()
    warnings = (*note, *plan.warnings, *left.notes, *expected.warnings, *ignored(plan, options))
    spec = _spec(plan, folder, origin, options, left)
    if latents is not None:
        spec = replace(spec, latents=latents, keep_latents=False)
    with live:
        _announce(tally, ended, warnings)
        course = Course(options=options, stop=stop, tally=tally, live=live, start=start, trash=trash, whole=whole)
        stopped = course.render(spec)
        # Offloading for want of room tells nothing of other runs, and a stand-in nothing of any.
        if isinstance(options.backend, Diffusers) and not (spec.measure or options.vram_limit):
            for kind in gate.speeds.all:
                history.record(kind.mine)
        return course.end(stopped)


def _gate(
    plan: Plan, folder: RunFolder, origin: Origin, options: Options, left: Remaining, *, decodes: bool
) -> Gate:
    """What lets images start, and knows what they take on the devices that are expected."""
    known = replace(left.known, limit=options.vram_limit, decodes=decodes)
    of_seat = of_seats(plan, left.scan.receipts.values(), known)
    floor = origin.run.min_free_disk
    gate = Gate(
        options.limits, folder, left.to_render, min_free_disk=floor, known=known, of_seat=of_seat, redo=left.redo
    )
    gate.crew(Crew(tuple(left.crew)))
    return gate


def _end_left_over(folder: RunFolder) -> Iterator[tuple[Orphan, str]]:
    """End the workers of earlier runs that are still there: those of its shard, or of all."""
    yield from workers.end_left_over(folder.own)
    for _, state in shards.states(folder.state) if folder.shard is None else ():
        yield from workers.end_left_over(state)


def _left(
    whole: Plan, plan: Plan, folder: RunFolder, origin: Origin, options: Options, earlier: Rates
) -> Remaining:
    """What is to be done of the part that ``plan`` is, once what the options say is forgotten."""
    if options.retry_failed or options.retry_oom:
        own = {task.id for task in plan.tasks} if folder.shard is not None else None
        # Of a measurement, to run out of memory is no failure; what other shards have failed at is theirs.
        folder.forget_failures(
            lambda item: (
                not (options.retry_oom if item.is_result else options.retry_failed)
                or (own is not None and item.task.id not in own)
            )
        )
    if options.redo_degraded or plan.kind == RunKind.MEASURE:
        rungs.forget(folder.state)
    return remaining(
        plan,
        folder,
        origin.run.retries,
        earlier,
        redo_degraded=options.redo_degraded,
        restore=options.restore,
        devices=options.devices,
        crew=crew.expected(plan, options),
        whole=whole,
    )


def _announce(tally: Tally, ended: Sequence[Happening], warnings: Sequence[str]) -> None:
    """Tell what is to be done and what to know before it, and begin the log."""
    plan, left = tally.plan, tally.left
    tally.on(
        Began(
            name=plan.name, folder=tally.folder.root, total=len(plan.tasks), done=left.done,
            to_render=len(left.to_render), most=tally.gate.images_left, measures=plan.kind == RunKind.MEASURE,
            warnings=(*(item.text for item in ended), *warnings),
        )
    )  # fmt: skip
    tally.log.begin(len(left.to_render))
    for item in ended:
        tally.log.write(item)


def _ended_worker(orphan: Orphan, why: str) -> Happening:
    said = f"a worker of an earlier run was still there: {orphan}; "
    said += f"it could not be ended: {why}" if why else "it is ended"
    return Happening(kind=HappeningKind.LEFT_OVER, text=said, data={"pid": orphan.pid, "bytes": orphan.held})


def _spec(plan: Plan, folder: RunFolder, origin: Origin, options: Options, left: Remaining) -> RunSpec:
    """What the manifest and the command line decide; the device and the models are not known yet."""
    run = origin.run
    return RunSpec(
        root=str(folder.root),
        runner=folder.runner,
        held=folder.held,
        cache=str(default_folder()),
        keep_latents=options.keep_latents or origin.output.keep_latents,
        metadata=TextsKept(origin.output.metadata),
        fallback=options.fallback and run.on_oom == "fallback",
        retries=run.retries,
        redo=left.redo,
        moved=left.in_the_way,
        recycle_after=run.recycle_after,
        task_timeout=options.task_timeout,
        numerics={name: choice.numerics for name, choice in plan.choices.items()},
        measure=plan.kind == RunKind.MEASURE,
        vram_limit=options.vram_limit,
    )


def report(
    root: Path, sheet: Choice | None = None, drawn: Callable[[int, int], None] | None = None
) -> tuple[Report, tuple[Path, ...]]:
    """Rebuild the table, the sheet and the page from the receipts.

    Also the pages of another sheet, where one is wanted; ``drawn`` is called with how many of these are drawn, of
    how many. Raises :class:`DiskFull` for want of room, and
    :class:`UserError` for a sheet that cannot be had and a folder that may not be written.
    """
    from batch.report.sheet import chosen
    from batch.report.write import write_report

    folder = RunFolder(root, runner_id())
    folder.require()
    with disk.stops_when_full(root), disk.must_be_writable(root):
        more = chosen.write(folder, folder.scan(), sheet, drawn) if sheet else None
        made = write_report(folder)
    if more is None:
        return made, ()
    return replace(made, warnings=(*more.warnings, *made.warnings)), more.paths
