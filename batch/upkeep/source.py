"""What a run folder was rendered from, found again: its models, as a plan of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import UserError
from batch.catalogue.model import Model
from batch.catalogue.models import own_file
from batch.hub.models import find_model
from batch.plan.plan import Plan
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.pins import Pins
    from batch.store.folder import RunFolder
    from batch.store.job import Origin


def plan_of(folder: RunFolder, tasks: Sequence[Task]) -> Plan:
    """A plan of tasks that are in the folder already, with its name, its pins and its models.

    Raises :class:`UserError` when a model is not the one that the tasks were rendered with.
    """
    pins, origin, names = folder.pins(), folder.origin(), {task.model: None for task in tasks}
    return Plan(
        name=folder.name(),
        kind=folder.kind(),
        tasks=tuple(tasks),
        models={name: _model(folder.root, name, origin, pins, tasks) for name in names},
        pins=pins,
    )


def base_folder(origin: Origin) -> Path:
    """Where the run's manifest lay: model folders and LoRA files are relative to it."""
    return Path(origin.source).parent if origin.source else Path()


def _model(root: Path, name: str, origin: Origin, pins: Pins, tasks: Sequence[Task]) -> Model:
    model = find_model(
        name,
        base_folder(origin),
        pins.revisions,
        online=False,
        allow_pickle=origin.allow_pickle,
        trust_remote_code=origin.trust_remote_code,
    )
    others = {task.revision for task in tasks if task.model == name} - {model.stamp}
    if others:
        before = min(others)
        if before.partition("+")[0] == model.revision:  # the weights are the same
            changed = (
                f"its entry in {own_file()} has changed since (variant, overrides or flow_shift); put it back"
            )
        else:
            changed = f"its revision was {before[:12]} and is {model.stamp[:12] or 'not known'} now"
        raise UserError(f"the model {name} is not the one that {root} was rendered with: {changed}")
    return model
