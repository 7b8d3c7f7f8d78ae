"""What an image needs of a node: models, LoRAs and autoencoders, with the content that they have for the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batch.base import checksums
from batch.base.errors import ModelError
from batch.hub import folders
from batch.hub.autoencoders import find_vae
from batch.hub.files import Looking
from batch.hub.loras import find_lora
from batch.hub.models import source
from batch.records.tasks import EncodeTask, Lora, Task, Vae, hub_name

if TYPE_CHECKING:
    from batch.catalogue.model import Model
    from batch.hub.downloads import FetchOptions
    from batch.records.receipts import Outcome
    from batch.records.spec import ModelSource
    from batch.records.tasks import Weights

Either = TypeVar("Either", bound=Task | EncodeTask)
Named = TypeVar("Named", Lora, Vae)

_OTHER = "than on the machine of the run"
_SAME = "what a run names by its path has to be the same under that path on every machine"


def model(known: Model) -> ModelSource:
    """Where a model is on this node. Raises :class:`ModelError` where it is not, or another one."""
    if known.folder:
        folder = Path(known.folder)
        if not folders.holds_model(folder):
            raise ModelError(f"{_whose(known, folder)}there is no model in {folder}; {_SAME}")
        if folders.revision_of(folder) != known.revision:
            raise ModelError(f"{_whose(known, folder)}{folder} holds another model {_OTHER}; {_SAME}")
    file = known.checkpoint
    if file is not None:
        for path, digest in ((Path(file.path), file.sha256), (Path(file.converted or file.path), "")):
            if not path.is_file():
                raise ModelError(f"{_whose(known, path)}there is no file {path}; {_SAME}")
            if digest and checksums.of(path) != digest:
                raise ModelError(f"{_whose(known, path)}{path} is another file {_OTHER}; {_SAME}")
    return source(known)


def _whose(known: Model, path: Path) -> str:
    """Which model, where its name is not the path that is named anyway."""
    return "" if Path(known.name) == path else f"{known.name}: "


def beside(wanted: Iterable[Weights], how: FetchOptions) -> Mapping[str, str]:
    """Have LoRAs and autoencoders on this node: where those are that lie elsewhere than for the run.

    Those of the Hub are downloaded. Raises :class:`ModelError` where one is not here, or another one.
    """
    found = {item.path: _found(item, how) for item in wanted}
    return {there: here for there, here in found.items() if there != here}


def _found(item: Weights, how: FetchOptions) -> str:
    path, what = Path(item.path), "autoencoder" if isinstance(item, Vae) else "LoRA"
    is_there = path.exists()
    if not is_there and not item.commit:
        raise ModelError(f"the {what} {item.short}: there is no file {path}; {_SAME}")
    here = _look(item, str(path) if is_there else hub_name(item.source), how)
    place = item.path if is_there else here.path
    if here.sha256 != item.sha256:
        raise ModelError(f"the {what} {item.short}: {place} is another file {_OTHER}; {_SAME}")
    return place


def _look(item: Weights, name: str, how: FetchOptions) -> Weights:
    if isinstance(item, Vae):
        return find_vae(name, Looking(base=Path(), revisions={}, fetching=how)).vae
    return find_lora(name, Path(), {}, how)


def as_seen_there(task: Either, places: Mapping[str, str]) -> Either:
    """A task with the LoRAs and the autoencoder where they lie on a node."""
    if not places:
        return task
    task = replace(task, loras=tuple(_moved(lora, places) for lora in task.loras))
    return replace(task, vae=_moved(task.vae, places)) if isinstance(task, Task) and task.vae else task


def as_seen_here(outcome: Outcome, places: Mapping[str, str]) -> Outcome:
    """What came of a task there, with the task as the run knows it."""
    back = {there: here for here, there in places.items()}
    receipt, failure = outcome.receipt, outcome.failure
    return replace(
        outcome,
        receipt=receipt and replace(receipt, task=as_seen_there(receipt.task, back)),
        failure=failure and replace(failure, task=as_seen_there(failure.task, back)),
    )


def _moved(item: Named, places: Mapping[str, str]) -> Named:
    return replace(item, path=places.get(item.path, item.path))
