"""Decodes kept latents again with another memory setting: a run folder of its own, without denoising."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from time import perf_counter

from batch import hub
from batch.engines import Control
from batch.errors import StopRun, UserError
from batch.manifest import values
from batch.manifest.values import Size
from batch.plan import Plan, memory, names
from batch.plan.identity import identify
from batch.records import Call, Outcome, RunSpec, Task
from batch.runner import Result, Watcher, standing
from batch.store import lock
from batch.store.embeds import default_folder
from batch.store.folder import RunFolder, runner_id
from batch.upkeep.source import plan_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecoded:
    """How it ended, and how many done images had no latents to decode."""

    result: Result
    without_latents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is decoded: the tasks as a plan, the setting, and the latents file of every task."""

    plan: Plan
    setting: str
    latents: Mapping[str, str]


def redecode(
    root: Path, setting: str, out: Path | None, devices: str | None, watcher: Watcher, stop: Event
) -> Redecoded:
    """Decode what ``root`` keeps latents of with the memory setting, into ``out``, and write the report.

    What ``out`` holds already is not decoded again; what failed there is tried again. The source is only
    read. Raises the errors of ``batch.errors`` for everything that keeps the work from starting.
    """
    source = RunFolder(root)
    source.require()
    if source.kind() != "render":
        raise UserError(f"{root} is a {source.kind()} run; only the pictures of a render run are decoded again")
    target = RunFolder(out or _beside(root, setting), runner_id())
    if target.root.resolve() == root.resolve():
        raise UserError(f"--out {out} is the run itself; its pictures stay as they are, so name another folder")
    done = [task for task in source.tasks() if source.is_done(task.id)]
    kept = [task for task in done if source.latents_path(task.id).is_file()]
    if not kept:
        raise UserError(
            f"{root} keeps no latents, so there is nothing to decode. They are kept when an image is rendered "
            "with --keep-latents, or with keep_latents: true in the manifest's output section"
        )
    changed = _changed(kept, setting, source.origin().output.name)
    latents = {task.id: str(source.latents_path(before.id)) for before, task in changed}
    plan = plan_of(source, list({task.id: task for _, task in changed}.values()))
    job = _Job(plan=plan, setting=setting, latents=latents)
    result = _carry_out(job, source, target, devices=devices, watcher=watcher, stop=stop)
    return Redecoded(result=result, without_latents=len(done) - len(kept))


def _beside(root: Path, setting: str) -> Path:
    named = root if root.name not in {"", ".."} else root.resolve()
    return named.with_name(f"{named.name}-{names.slug(setting)}")


def _changed(tasks: list[Task], setting: str, template: str) -> list[tuple[Task, Task]]:
    """Each task with its twin under the new setting: new pixel steps, id and name."""
    try:
        setting = values.memory(setting)
        twins = [_with_setting(task, setting) for task in tasks]
    except ValueError as error:
        raise UserError(f"--memory {setting}: {error}") from None
    if all(task.pixel_steps == twin.pixel_steps for task, twin in zip(tasks, twins, strict=True)):
        raise UserError(
            f"--memory {setting} decodes these images as they were decoded: the pictures would be the same. "
            "Name a setting that tiles these sizes otherwise, for example vae_tiling(256, 192)"
        )
    return list(zip(tasks, names.assign(twins, template), strict=True))


def _with_setting(task: Task, setting: str) -> Task:
    size = Size(task.rendered_width, task.rendered_height)
    steps = memory.resolve(setting, size)
    pixel_steps = memory.pixel_steps(steps, size)
    if _denoising(pixel_steps) != _denoising(task.pixel_steps):
        raise ValueError(f"it changes how {task.name} is denoised, not only how it is decoded; render it instead")
    return identify(replace(task, memory=setting, memory_steps=steps, pixel_steps=pixel_steps))


def _denoising(steps: tuple[Call, ...]) -> set[Call]:
    """The steps that decide the latents: all but those of the autoencoder."""
    return {step for step in steps if not step.name.startswith("vae_")}


def _carry_out(
    job: _Job, source: RunFolder, target: RunFolder, *, devices: str | None, watcher: Watcher, stop: Event
) -> Result:
    from batch.report import write_report

    start, plan, origin = perf_counter(), job.plan, source.origin()
    target.check(plan.name, plan.kind)
    with lock.hold(target.state):
        target.sweep()
        manifest, suffix = _manifest(source, job.setting)
        target.begin(plan.name, plan.kind, manifest, plan.tasks, plan.pins, suffix=suffix)
        target.keep_origin(origin)
        where = standing(plan, target, origin.run.retries, retry_failed=True)
        watcher.started(plan, where, target.root)
        counts: dict[str, int] = {"done": 0, "failed": 0}
        stopped = None
        try:
            if where.to_render:
                for outcome in _decode(
                    job, where.to_render, target, origin.run.min_free_disk, devices, watcher, stop
                ):
                    counts[outcome.status] += 1
                    watcher.finished(outcome)
        except StopRun as error:
            stopped = error
        finally:
            watcher.closed()
        report = write_report(target)
    return Result(
        folder=target.root,
        total=len(plan.tasks),
        done_before=where.done,
        rendered=counts["done"],
        failed=counts["failed"],
        seconds=perf_counter() - start,
        report=report,
        stopped=stopped,
    )


def _decode(
    job: _Job,
    tasks: Sequence[Task],
    target: RunFolder,
    min_free_disk: int,
    devices: str | None,
    watcher: Watcher,
    stop: Event,
) -> Iterator[Outcome]:
    from batch.engines.local import LocalEngine
    from batch.render import device

    spec = RunSpec(
        root=str(target.root),
        device=device.choose(devices),
        cache=str(default_folder()),
        models={name: hub.source(model) for name, model in job.plan.models.items()},
        runner=target.runner,
        min_free_disk=min_free_disk,
        latents=job.latents,
    )
    watcher.loading(0)
    yield from LocalEngine().execute(tasks, spec, Control(stop, watcher.step))


def _manifest(source: RunFolder, setting: str) -> tuple[str, str]:
    """The source's manifest as ``run --set memory=SETTING`` would keep it, and its suffix."""
    text, suffix = source.manifest_text()
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("# --set memory=")]
    return f"# --set memory={setting}\n" + "".join(kept), suffix
