"""Checkpoints in one file: found by their names, looked at by their headers, known by their content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from batch.base import checksums, regular
from batch.base.errors import ModelError
from batch.catalogue import layouts, signatures, single_files, tensors, weights
from batch.catalogue.denoisers import Header, NotRecognised
from batch.catalogue.families import digest
from batch.catalogue.model import Checkpoint, Model
from batch.catalogue.models import packaged
from batch.catalogue.single_files import KINDS, SUFFIXES, Recognised
from batch.hub import folders
from batch.hub.conversion import converted
from batch.hub.files import Looking, content, is_unfinished, locate, refuse_unread
from batch.hub.permissions import Permissions
from batch.hub.pickles import Acceptance, is_pickle
from batch.hub.random_models import described
from batch.records.tasks import lora_origin

if TYPE_CHECKING:
    from batch.hub.files import Located

Remote = Callable[[str, frozenset[str]], Model]
"""The model of a repository, for a file that has the weights of some of its components."""


def look_into(name: str, path: Path) -> Recognised:
    """What a file is. Raises :class:`ModelError` for everything that no picture can be rendered from."""
    header, told = header_of(name, path)
    try:
        return single_files.recognise(header, told)
    except NotRecognised as error:
        raise ModelError(f"{name}: {error}") from None


def header_of(name: str, path: Path) -> tuple[Header, Mapping[str, str]]:
    """The header of a file and its writer's notes. Raises :class:`ModelError` for one that is not read, or cut."""
    refuse_unread(name, path)
    if is_unfinished(path):
        raise ModelError(f"{name} is a download that has not finished; let it, or begin it anew")
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(f"{name} is no checkpoint; one ends with {SUFFIXES[0]}")
    try:
        return _header(path)
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{name} is no safetensors file: {error}") from None


def _header(path: Path) -> tuple[Header, Mapping[str, str]]:
    """The header of a file that is whole, and its writer's notes."""
    with regular.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = tensors.header(file)
    whole = head.start + tensors.size(head.tensors)
    if size != whole:
        how = "is cut off" if size < whole else "is longer than its header says"
        raise ModelError(f"{path.name} {how}: it has {size:,} of {whole:,} bytes. Copy or download it once more")
    return head.tensors, head.notes


def find(name: str, known: Model | None, looking: Looking, remote_model: Remote) -> Model:
    """The model in a file. Raises :class:`ModelError` where there is none, or no picture can be rendered from it.

    ``known`` is its entry in the user's own file; ``remote_model`` finds the model of the repository that has what
    the file lacks.
    """
    named = known.file if known is not None else name
    located = locate(named, looking)
    if located.path is None:
        return _not_here(name, known, located)
    safe = converted(named, located.path, looking) if is_pickle(located.path) else None
    found = look_into(named, safe.path if safe else located.path)
    if known is not None and known.prediction == "epsilon" and found.kind == "sd2-v":
        found = replace(found, kind="sd2", notes=())
    checkpoint = Checkpoint(
        path=str(located.path),
        sha256=safe.of if safe else content(located.path, looking.tell),
        converted=str(safe.path) if safe else "",
        kind=found.kind,
        holds=found.holds,
        precision=found.precision,
        source=located.source,
    )
    model = _of_kind(name, found, remote_model)
    if known is not None:
        model = _as_entry(model, known, found)
    model = _predicting(model, found)
    changes = digest([sorted(known.overrides.items())])[:8] if known is not None and known.overrides else ""
    return replace(
        model,
        name=name,
        file=named,
        checkpoint=replace(checkpoint, changes=changes),
        own=known is not None,
        notes=(*model.notes, *found.notes, *_cast(model, found)),
    )


def _not_here(name: str, known: Model | None, located: Located) -> Model:
    if known is None:
        repo, _, inner = lora_origin(located.source)
        raise ModelError(
            f"{inner} of {repo} is not on this machine, so it is not known what it is: `fetch` the manifest first"
        )
    return replace(known, name=name, checkpoint=Checkpoint(path="", sha256="", kind="", source=located.source))


def weighted(kind: str) -> frozenset[str]:
    """The components with weights of a kind whose layout ships with the program; none of others."""
    layout = layouts.packaged(kind)
    index = folders.json_of(layout / weights.INDEX) if layout is not None else {}
    return frozenset(filter(weights.is_weighted, weights.components(index)))


def _of_kind(name: str, found: Recognised, remote_model: Remote) -> Model:
    """The defaults of a kind, and where its layout and what the file lacks are from."""
    repo, layout = layouts.repository(found.kind), layouts.packaged(found.kind)
    if layout is None or weighted(found.kind) - found.holds:
        try:
            return replace(remote_model(repo, found.holds), download_gb=None)
        except ModelError as error:
            raise ModelError(f"{name} is a {KINDS[found.kind]}; what it lacks is of {repo}: {error}") from None
    known = next((model for model in packaged().values() if model.repo == repo), None)
    model = known or described(name, folders.reader(layout), trusted=False)
    about = f"{KINDS[found.kind]} in one file"
    return replace(model, about=about, repo="", revision="", variant="", licence="", download_gb=None, gated=False)


def _as_entry(model: Model, known: Model, found: Recognised) -> Model:
    """A model of the user's own file: its defaults, and the place and family of what the file is."""
    if model.pipeline != known.pipeline:
        raise ModelError(
            f"{known.name} is said to be a {known.pipeline}, and {known.file} holds a {KINDS[found.kind]} "
            f"({model.pipeline})"
        )
    place = {"repo": model.repo, "revision": model.revision, "variant": model.variant, "notes": model.notes}
    allowed = {"allow_pickle": model.allow_pickle, "trust_remote_code": model.trust_remote_code}
    return replace(known, family=model.family, **cast(Any, place | allowed))


def _predicting(model: Model, found: Recognised) -> Model:
    """With a scheduler that is told what the file itself says that it predicts."""
    if not found.v_prediction or model.prediction != "epsilon":
        return model
    known = signatures.scheduler_settings(model.scheduler) or {}
    wanted = {"prediction_type": "v_prediction"} | ({"rescale_betas_zero_snr": True} if found.zero_snr else {})
    taken = {name: value for name, value in wanted.items() if name in known}
    missing = wanted.keys() - taken.keys()
    note = f"its file asks for {', '.join(sorted(missing))}, which {model.scheduler} does not have"
    own = model.overrides.get("scheduler", {})
    return replace(
        model,
        prediction="v_prediction",
        overrides={**model.overrides, "scheduler": {**taken, **own}},
        notes=(*model.notes, *([note] if missing else [])),
    )


def _cast(model: Model, found: Recognised) -> Iterable[str]:
    if found.precision == "fp8":
        kept = "scaled fp8" if found.scaled else "fp8"
        yield (
            f"its weights are {kept} and become {model.dtype} as they are loaded, which takes the memory of that; "
            "it is `memory: fp8_weights` that keeps them small on the card"
        )


def is_here(model: Model, base: Path) -> bool:
    """Whether the file of an entry of the user's own is on this machine."""
    anything = Acceptance(model=model.name, permissions=Permissions(pickles=frozenset({model.name})), online=False)
    try:
        return locate(model.file, Looking(base=base, revisions={}, accepts=anything)).path is not None
    except ModelError:
        return False


def unchanged(model: Model) -> None:
    """Raise :class:`ModelError` where the file is not the one any more that was looked at."""
    file = model.checkpoint
    if file is None or not file.path:
        return
    try:
        now = content(Path(file.path), checksums.untold)
    except ModelError as error:
        raise ModelError(f"{model.name} was there a moment ago: {error}") from None
    if now != file.sha256:
        raise ModelError(f"{model.name} has changed since it was looked at; run the same command again")
