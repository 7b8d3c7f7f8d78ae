"""Renders some images of a run again, in a folder that is gone afterwards, and compares the pixels."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Literal

from batch import hub
from batch.base.errors import UserError
from batch.plan import Plan
from batch.records import Began, Closed, Listener, Machine, Outcome, Receipt, RunSpec, Task
from batch.report.compare.pixels import difference
from batch.run.execute import EngineChoice, render
from batch.run.lookup import lookup
from batch.store import images
from batch.store.embeds import default_folder
from batch.store.folder import RunFolder, runner_id
from batch.upkeep.source import base_folder, plan_of

Verdict = Literal["identical", "near", "different", "failed"]

NEAR_DB = 40.0
"""From this PSNR on two pictures are near: no eye tells them apart, and another card or another version of
torch gives about that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """One image rendered again. The figures are None where nothing could be compared or nothing differs."""

    task_id: str
    path: str
    verdict: Verdict
    max_difference: int | None = None
    changed_share: float | None = None
    psnr_db: float | None = None
    detail: str = ""
    plain: bool = True
    """It was rendered alone by an uncompiled model, as it is here: every bit can be asked for."""
    from_hub: bool = False
    """Its model was downloaded: ``fetch --check`` can tell whether its files are those of the Hub."""

    @property
    def as_expected(self) -> bool:
        """Whether nothing is wrong: low bits may differ where a batch or a compiled model made the image."""
        return self.verdict == "identical" or (self.verdict == "near" and not self.plain)


def reproduce(
    root: Path, done: Iterable[str], count: int, seed: int, devices: str | None, listener: Listener
) -> tuple[Reproduction, ...]:
    """Render ``count`` of the ``done`` tasks again (all, where there are fewer) and compare.

    ``seed`` draws the sample. Images that were rendered with a fallback setting, or repaired, are left out: their
    task does not say all of how they came about. Never writes into the run folder. Raises
    :class:`~batch.base.errors.UserError` when a model or LoRA file is not what it was.
    """
    folder = RunFolder(root)
    receipts = folder.inspect().receipts
    there = [receipts[key] for key in sorted(done) if not (receipts[key].degraded_from or receipts[key].repaired)]
    drawn = {item.task.id for item in random.Random(seed).sample(there, min(count, len(there)))}
    chosen = {task.id: receipts[task.id] for task in folder.tasks() if task.id in drawn}
    if not chosen:
        return ()
    plan = plan_of(folder, [_with_loras_here(receipt.task) for receipt in chosen.values()])
    _check_loras(folder, plan)
    with tempfile.TemporaryDirectory(prefix="run_batch-verify-") as place:
        again = RunFolder(Path(place), runner_id())
        try:
            outcomes = _render(plan, again, EngineChoice(devices=devices), listener)
            found = [_compare(folder, chosen[outcome.key], again, outcome) for outcome in outcomes]
            return tuple(replace(item, from_hub=_is_of_hub(plan, chosen[item.task_id].task)) for item in found)
        finally:
            listener.on(Closed())


def _is_of_hub(plan: Plan, task: Task) -> bool:
    model = plan.models[task.model]
    return bool(model.repo) and not model.random


def _with_loras_here(task: Task) -> Task:
    return replace(task, loras=tuple(hub.lora_here(lora) for lora in task.loras)) if task.loras else task


def _check_loras(folder: RunFolder, plan: Plan) -> None:
    find = lookup(str(base_folder(folder)), plan.pins).lora
    for lora in {lora.path: lora for task in plan.tasks for lora in task.loras}.values():
        if lora.source and not Path(lora.path).is_file():
            raise UserError(f"the LoRA {lora.source} is not on this machine any more; fetch it again")
        if find(lora.path, lora.scale).sha256 != lora.sha256:
            raise UserError(f"{lora.path} is not the file that {folder.root} was rendered with")


def _render(plan: Plan, again: RunFolder, engine: EngineChoice, listener: Listener) -> Iterator[Outcome]:
    count = len(plan.tasks)
    listener.on(
        Began(name=plan.name, folder=again.root, total=count, done=0, to_render=count, warnings=plan.warnings)
    )
    spec = RunSpec(root=str(again.root), runner=again.runner, cache=str(default_folder()), fallback=False)
    for outcome in render(plan, plan.tasks, again, spec, engine, listener, stop=Event()):
        listener.on(outcome)
        yield outcome


def _compare(folder: RunFolder, before: Receipt, again: RunFolder, outcome: Outcome) -> Reproduction:
    together = _together(before)
    result = Reproduction(task_id=before.task.id, path=before.file.path, verdict="identical", plain=not together)
    if outcome.receipt is None:
        error = outcome.error
        detail = f"{error.stage}: {error.kind}: {error.message}" if error else ""
        return replace(result, verdict="failed", detail=detail)
    now = again.root / outcome.receipt.file.path
    try:
        if outcome.receipt.file.sha256 == before.file.sha256:
            return result
        gap = difference(images.read_pixels(folder.root / before.file.path), images.read_pixels(now))
    except (OSError, ValueError) as error:
        return replace(result, verdict="failed", detail=f"cannot be compared: {error}")
    finally:
        now.unlink(missing_ok=True)  # hundreds of 30 MB files would fill a small /tmp
    elsewhere = "; ".join(filter(None, (together, _elsewhere(before.machine, outcome.receipt.machine))))
    if gap is None:
        return replace(result, verdict="different", detail="another shape or depth")
    if not gap.max_difference:
        return replace(result, detail="the pixels are; the file is encoded otherwise")
    return replace(
        result,
        verdict="near" if gap.psnr_db >= NEAR_DB else "different",
        max_difference=gap.max_difference,
        changed_share=gap.changed_share,
        psnr_db=gap.psnr_db,
        detail=elsewhere,
    )


def _together(before: Receipt) -> str:
    """Low bits move with a compiled model and with a batch's size: here an image is rendered plain."""
    parts = [f"in a batch of {before.batch}"] if before.batch > 1 else []
    parts += ["compiled"] if before.compile else []
    return f"{' and '.join(parts)} then, plain now" if parts else ""


def _elsewhere(before: Machine, now: Machine) -> str:
    """What is not as it was when the image was rendered: the usual reason for other low bits."""
    described: list[tuple[str, Callable[[Machine], str]]] = [
        ("", lambda machine: machine.device),
        ("torch ", lambda machine: machine.torch),
        ("diffusers ", lambda machine: machine.diffusers),
        ("driver ", lambda machine: machine.driver),
    ]
    changed = [
        f"{title}{value(before) or 'unknown'} then, {value(now) or 'unknown'} now"
        for title, value in described
        if value(before) != value(now)
    ]
    return "; ".join(changed)
