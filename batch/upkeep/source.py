"""What a run folder was rendered from, found again: its models, as a plan of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import ModelError, UserError
from batch.catalogue.model import Model
from batch.catalogue.models import own_file
from batch.hub.autoencoders import find_vae
from batch.hub.files import Looking
from batch.hub.models import find_model
from batch.hub.permissions import Permissions
from batch.plan.plan import Plan
from batch.records.tasks import Task, Vae, hub_name, short_revision
from batch.upkeep import askable

if TYPE_CHECKING:
    from batch.plan.pins import Pins
    from batch.store.folder import RunFolder
    from batch.store.job import Origin


def plan_of(folder: RunFolder, tasks: Sequence[Task], *, allow_code: bool) -> Plan:
    """A plan of tasks that are in the folder already, with its name, its pins and its models.

    A run folder may be anybody's: what its manifest allowed (pickles, code of a model's own) holds only where the
    user repeats it, ``allow_code``. Raises :class:`UserError` when a model is not the one that the tasks were
    rendered with, or needs what is not allowed, and for a task that no manifest can ask for.
    """
    pins, origin, names = folder.pins(), folder.origin(), {task.model: None for task in tasks}
    models = {name: _model(folder.root, name, origin, pins, tasks, allow_code=allow_code) for name in names}
    for task in tasks:
        askable.check(folder.root, task, models[task.model])
    vaes = {task.vae: _vae(folder.root, task.vae, origin) for task in tasks if task.vae}
    return Plan(
        name=folder.name(),
        kind=folder.kind(),
        tasks=tuple(replace(task, vae=vaes[task.vae]) if task.vae else task for task in tasks),
        models=models,
        pins=pins,
    )


def base_folder(origin: Origin) -> Path:
    """Where the run's manifest lay: model folders and LoRA files are relative to it."""
    return Path(origin.source).parent if origin.source else Path()


def _vae(root: Path, vae: Vae, origin: Origin) -> Vae:
    """An autoencoder of a task where it is now. Raises :class:`UserError` where its content is another one."""
    if not vae.known:
        raise UserError(f"what the autoencoder {vae.path} of {root} was is not known, so it is not loaded")
    found = find_vae(hub_name(vae.source) or vae.path, Looking(base=base_folder(origin), revisions={})).vae
    if not found.known:
        raise UserError(f"the autoencoder {vae.source} is not on this machine any more; fetch it again")
    if found.sha256 != vae.sha256:
        raise UserError(f"{found.path} is not the autoencoder that {root} was rendered with")
    return replace(found, name=vae.name)


def _model(root: Path, name: str, origin: Origin, pins: Pins, tasks: Sequence[Task], *, allow_code: bool) -> Model:
    allowed = Permissions()
    if allow_code:
        allowed = Permissions(pickles=origin.allow_pickle, code=origin.trust_remote_code, own_pins=True)
    try:
        model = find_model(
            name,
            base_folder(origin),
            pins.revisions,
            online=False,
            permissions=allowed,
        )
    except ModelError as error:
        if allow_code or not (origin.allow_pickle | origin.trust_remote_code):
            raise
        raise UserError(
            f"{error}. The manifest of {root} did, but a run folder may be anybody's: add --allow-code where you "
            "trust this one and its models"
        ) from None
    others = {task.revision for task in tasks if task.model == name} - {model.stamp}
    if others:
        before = min(others)
        if before.partition("+")[0] == model.stamp.partition("+")[0]:  # the weights are the same
            changed = (
                f"its entry in {own_file()} has changed since (variant, overrides or flow_shift); put it back"
            )
        else:
            now = short_revision(model.stamp) or "not known"
            changed = f"its revision was {short_revision(before)} and is {now} now"
        raise UserError(f"the model {name} is not the one that {root} was rendered with: {changed}")
    return model
