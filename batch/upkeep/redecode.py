"""Decodes kept latents again with another memory setting: a run folder of its own, without denoising."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import disk, hardware
from batch.base.devices import one
from batch.base.errors import UserError
from batch.manifest import values
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan import names
from batch.plan.identity import identify
from batch.records.events import Listener
from batch.records.kinds import RunKind
from batch.records.tasks import Task
from batch.records.values import Call
from batch.run.no_effect import refuse_cluster
from batch.run.obeying import obeying
from batch.run.options import Options
from batch.run.runner import carry_out
from batch.store import history, inside
from batch.store.folder import RunFolder, runner_id
from batch.upkeep.source import plan_of

if TYPE_CHECKING:
    from batch.run.options import Result
    from batch.run.steering import Steering


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecoded:
    """How it ended, and how many done images had no latents to decode."""

    result: Result
    without_latents: int


def redecode(
    root: Path,
    setting: str,
    out: Path | None,
    devices: str | None,
    listener: Listener,
    stop: Steering,
    *,
    allow_code: bool = False,
    stop_within: float | None = None,
) -> Redecoded:
    """Decode what ``root`` keeps latents of with the memory setting, into ``out``, and write the report.

    What ``out`` holds already is not decoded again; what failed there is tried again. The source is only
    read. Raises the errors of ``batch.base.errors`` for everything that keeps the work from starting.
    """
    refuse_cluster("redecode decodes latents that lie on this machine")
    source = RunFolder(root)
    source.require()
    if source.kind() != RunKind.RENDER:
        raise UserError(f"{root} is a {source.kind()} run; only the pictures of a render run are decoded again")
    named = root if root.name not in {"", ".."} else root.resolve()
    target = RunFolder(out or named.with_name(f"{named.name}-{names.slug(setting)}"), runner_id())
    if target.root.resolve() == root.resolve():
        raise UserError(f"--out {out} is the run itself; its pictures stay as they are, so name another folder")
    scan = source.scan()
    done = [task for task in source.tasks() if task.id in scan.receipts]
    kept = [task for task in done if inside.is_file(source.latents_path(task.id))]
    if not kept:
        if source.inspect().damaged:
            raise UserError(f"receipts of {root} are damaged, so nothing is known to be done; `verify` names them")
        raise UserError(
            f"{root} keeps no latents, so there is nothing to decode. They are kept when an image is rendered "
            "with --keep-latents, or with keep_latents: true in the manifest's output section"
        )
    origin = source.origin()
    changed = _changed(kept, setting, origin.output.name, source.pins().begun)
    latents = {task.id: str(source.latents_path(before.id)) for before, task in changed}
    plan = plan_of(source, list({task.id: task for _, task in changed}.values()), allow_code=allow_code)
    target.check(plan.name, plan.kind)
    with disk.stops_when_full(target.root), target.hold(), obeying(stop, target):
        options = Options(devices=one(devices), retry_failed=True, stop_within=stop_within)
        # The manifest as `run --set memory=SETTING` would keep it.
        earlier = history.read().learned(device=hardware.look(options.devices).device)
        lines = origin.text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith("# --set memory="))
        origin = replace(origin, text=f"# --set memory={setting}\n{text}")
        result = carry_out(plan, target, origin, options, listener, stop, earlier=earlier, latents=latents)
    return Redecoded(result=result, without_latents=len(done) - len(kept))


def _changed(tasks: list[Task], setting: str, template: str, begun: str) -> list[tuple[Task, Task]]:
    """Each task with its twin under the new setting: new pixel steps, id and name."""
    twins = []
    try:
        setting = values.memory(setting)
        for task in tasks:
            size = Size(task.rendered_width, task.rendered_height)
            steps = profiles.resolve(setting, size)
            pixel_steps = profiles.pixel_steps(steps, size)
            if _denoising(pixel_steps) != _denoising(task.pixel_steps):
                raise ValueError(
                    f"it changes how {task.name} is denoised, not only how it is decoded; render it instead"
                )
            twins.append(identify(replace(task, memory=setting, memory_steps=steps, pixel_steps=pixel_steps)))
    except ValueError as error:
        raise UserError(f"--memory {setting}: {error}") from None
    if all(task.pixel_steps == twin.pixel_steps for task, twin in zip(tasks, twins, strict=True)):
        raise UserError(
            f"--memory {setting} decodes these images as they were decoded: the pictures would be the same. "
            "Name a setting that tiles these sizes otherwise, for example vae_tiling(256, 192)"
        )
    return list(zip(tasks, names.assign(twins, template, begun), strict=True))


def _denoising(steps: tuple[Call, ...]) -> set[Call]:
    """The steps that decide the latents: all but those of the autoencoder."""
    return {step for step in steps if not step.name.startswith("vae_")}
