"""Renders some images of a run again, in a folder that is gone afterwards, and compares the pixels."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.cache import default_folder
from batch.base.devices import one
from batch.base.errors import UserError
from batch.hub.loras import lora_here
from batch.records.events import Began, Closed, Listener
from batch.records.receipts import Machine, Outcome, Receipt
from batch.records.spec import RunSpec
from batch.records.tasks import Task, content_of
from batch.report.compare.pixels import difference
from batch.run.execute import EngineChoice, render
from batch.run.lookup import lookup
from batch.run.no_effect import refuse_cluster
from batch.run.steering import Steering
from batch.store.folder import RunFolder, runner_id
from batch.store.images.reading import read_pixels
from batch.upkeep.source import base_folder, plan_of

if TYPE_CHECKING:
    from batch.plan.plan import Plan
    from batch.report.compare.pixels import Difference


class Verdict(StrEnum):
    """How the picture that was rendered again compares with the one that is there."""

    IDENTICAL = "identical"
    NEAR = "near"
    DIFFERENT = "different"
    FAILED = "failed"
    """It could not be rendered, or not be compared."""


NEAR_DB = 40.0
"""From this PSNR on two pictures are near: no eye tells them apart, and another card or another version of
torch gives about that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """One image rendered again."""

    task_id: str
    path: str
    verdict: Verdict
    difference: Difference | None = None
    """None where nothing could be compared, or no pixel differs."""
    detail: str = ""
    """For people."""
    plain: bool = True
    """It was rendered alone by an uncompiled model, as it is here: every bit can be asked for."""
    from_hub: bool = False
    """Its model was downloaded: ``fetch --check`` can tell whether its files are those of the Hub."""

    @property
    def as_expected(self) -> bool:
        """Whether nothing is wrong: low bits may differ where a batch or a compiled model made the image."""
        return self.verdict is Verdict.IDENTICAL or (self.verdict is Verdict.NEAR and not self.plain)


def reproduce(
    root: Path,
    there: Mapping[str, str],
    count: int,
    seed: int,
    devices: str | None,
    listener: Listener,
    *,
    allow_code: bool = False,
) -> tuple[Reproduction, ...]:
    """Render ``count`` of some tasks again (all, where there are fewer) and compare.

    ``there`` says by task id where pictures with their own pixels lie. ``seed`` draws the sample. Images that were
    rendered with a fallback setting, or repaired, are left out: their task does not say all of how they came
    about. ``allow_code`` is that of :func:`plan_of`. Never writes into the run folder. Raises
    :class:`~batch.base.errors.UserError` when a model or LoRA file is not what it was.
    """
    folder = RunFolder(root)
    found = folder.inspect().receipts
    receipts = {key: replace(found[key], file=replace(found[key].file, path=there[key])) for key in sorted(there)}
    plain = [item for item in receipts.values() if not (item.degraded_from or item.repaired)]
    drawn = {item.task.id for item in random.Random(seed).sample(plain, min(count, len(plain)))}
    chosen = {task.id: _where_it_lies(receipts[task.id], task) for task in folder.tasks() if task.id in drawn}
    if not chosen:
        return ()
    refuse_cluster("a few pictures are rendered again on this machine")
    tasks = [receipt.task for receipt in chosen.values()]
    plan = plan_of(
        folder, [replace(task, loras=tuple(map(lora_here, task.loras))) for task in tasks], allow_code=allow_code
    )
    find = lookup(str(base_folder(folder.origin())), plan.pins).lora
    for lora in {lora.path: lora for task in plan.tasks for lora in task.loras}.values():
        if not lora.known:
            raise UserError(f"what the LoRA {lora.path} of {folder.root} was is not known, so it is not loaded")
        if lora.source and not Path(lora.path).is_file():
            raise UserError(f"the LoRA {lora.source} is not on this machine any more; fetch it again")
        if find(lora.path).sha256 != lora.sha256:
            raise UserError(f"{lora.path} is not the file that {folder.root} was rendered with")
    with tempfile.TemporaryDirectory(prefix="run_batch-verify-") as place:
        again = RunFolder(Path(place), runner_id())
        try:
            outcomes = _render(plan, again, EngineChoice(devices=one(devices)), listener)
            return tuple(_compare(plan, folder, chosen[outcome.key], again, outcome) for outcome in outcomes)
        finally:
            listener.on(Closed())


def _where_it_lies(receipt: Receipt, planned: Task) -> Receipt:
    """The receipt with the names that its model and autoencoder have by now: their content is the same."""
    model = planned.model if content_of(planned.revision) else receipt.task.model
    return replace(receipt, task=replace(receipt.task, model=model, vae=planned.vae))


def _render(plan: Plan, again: RunFolder, engine: EngineChoice, listener: Listener) -> Iterator[Outcome]:
    count = len(plan.tasks)
    listener.on(
        Began(name=plan.name, folder=again.root, total=count, done=0, to_render=count, warnings=plan.warnings)
    )
    spec = RunSpec(root=str(again.root), runner=again.runner, cache=str(default_folder()), fallback=False)
    for outcome in render(plan, plan.tasks, again, spec, engine, listener, stop=Steering()):
        listener.on(outcome)
        yield outcome


def _compare(plan: Plan, folder: RunFolder, before: Receipt, again: RunFolder, outcome: Outcome) -> Reproduction:
    model = plan.models[before.task.model]
    result = Reproduction(
        task_id=before.task.id,
        path=before.file.path,
        verdict=Verdict.IDENTICAL,
        plain=before.batch == 1 and not before.compile,
        from_hub=bool(model.repo) and not model.random,
    )
    if outcome.receipt is None:
        detail = f"{outcome.error.stage}: {outcome.error}" if outcome.error else ""
        return replace(result, verdict=Verdict.FAILED, detail=detail)
    now = again.root / outcome.receipt.file.path
    try:
        if outcome.receipt.file.sha256 == before.file.sha256:
            return result
        gap = difference(read_pixels(folder.root / before.file.path), read_pixels(now))
    except (OSError, ValueError) as error:
        return replace(result, verdict=Verdict.FAILED, detail=f"cannot be compared: {error}")
    finally:
        now.unlink(missing_ok=True)  # hundreds of 30 MB files would fill a small /tmp
    if gap is None:
        return replace(result, verdict=Verdict.DIFFERENT, detail="another shape or depth")
    if gap.identical:
        return replace(result, detail="the pixels are; the file is encoded otherwise")
    verdict = Verdict.NEAR if gap.psnr_db >= NEAR_DB else Verdict.DIFFERENT
    return replace(result, verdict=verdict, difference=gap, detail=_otherwise(before, outcome.receipt.machine))


def _otherwise(before: Receipt, now: Machine) -> str:
    """What was not as it is here when the image was rendered: the usual reasons for other low bits."""
    together = [f"in a batch of {before.batch}"] if before.batch > 1 else []
    together += ["compiled"] if before.compile else []
    parts = [f"{' and '.join(together)} then, plain now"] if together else []
    then = before.machine
    for title, was, is_now in (
        ("", then.device, now.device),
        ("torch ", then.torch, now.torch),
        ("diffusers ", then.diffusers, now.diffusers),
        ("driver ", then.driver, now.driver),
    ):
        if was != is_now:
            parts.append(f"{title}{was or 'unknown'} then, {is_now or 'unknown'} now")
    return "; ".join(parts)
