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


def plan_of(folder: RunFolder, tasks: Sequence[Task]) -> Plan:
    """A plan of tasks that are in the folder already, with its name, its pins and its models.

    Raises :class:`UserError` when a model is not the one that the tasks were rendered with.
    """
    pins = folder.pins()
    return Plan(
        name=folder.name(),
        kind=folder.kind(),
        tasks=tuple(tasks),
        models={name: _model(folder, name, pins, tasks) for name in {task.model: None for task in tasks}},
        pins=pins,
    )


def base_folder(folder: RunFolder) -> Path:
    """Where the run's manifest lay: model folders and LoRA files are relative to it."""
    source = folder.origin().source
    return Path(source).parent if source else Path()


def _model(folder: RunFolder, name: str, pins: Pins, tasks: Sequence[Task]) -> Model:
    origin = folder.origin()
    model = find_model(
        name,
        base_folder(folder),
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
        raise UserError(f"the model {name} is not the one that {folder.root} was rendered with: {changed}")
    return model
