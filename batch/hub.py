"""Names of models to models: the catalogue, local folders, and the Hugging Face Hub's cache.

A revision says which weights: for a Hub model the commit, for files on disk a hash of their content.
Hashing ten gigabytes takes longer than planning should, so large files are sampled: the header (which
in safetensors names every tensor) and blocks spread over the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from batch.errors import ModelError
from batch.plan import Lookup, Pins
from batch.plan.catalogue import PIPELINE_FAMILY, Model, known_models, native_for
from batch.records import Lora, ModelSource

_WHOLE = 32 * 2**20
_BLOCK = 2**16
_BLOCKS = 128


def lookup(folder: str, pins: Pins, *, online: bool) -> Lookup:
    """How a plan finds what it names. ``folder`` is the manifest's: model folders are relative to it.

    ``online`` allows one request to the Hub for a revision that neither pins nor cache know.
    """
    return Lookup(
        model=lambda name: find_model(name, Path(folder), pins.revisions, online=online),
        lora=lambda path, scale: _lora(path, scale, Path(folder)),
        draw=lambda count: tuple(secrets.randbelow(2**32) for _ in range(count)),
    )


def find_model(name: str, base: Path, revisions: Mapping[str, str], *, online: bool) -> Model:
    """The model of that name. Raises :class:`ModelError` when there is none that can be rendered."""
    known = known_models().get(name)
    if known is not None and known.package:
        return replace(known, revision=_folder_revision(_package_folder(known.package)))
    folder = Path(name) if Path(name).is_absolute() else base / name
    if known is None and (folder / "model_index.json").is_file():
        return _folder_model(name, folder)
    repo, _, wanted = name.partition("@")
    if known is None:
        known = next((model for model in known_models().values() if model.repo == repo), None)
        if known is None:
            raise ModelError(_unknown(name, folder))
        known = replace(known, name=name)
    revision = revisions.get(name) or _hub_revision(known.repo, wanted or "main", online=online)
    return replace(known, revision=revision)


def _unknown(name: str, folder: Path) -> str:
    if folder.is_dir():
        return f"the folder {folder} holds no diffusers model (no model_index.json)"
    names = ", ".join(known_models())
    return f"'{name}' is not known; write one of {names}, a SANA repository of the Hub, or a model's folder"


def source(model: Model) -> ModelSource:
    """Where a session loads the model from."""
    location = str(_package_folder(model.package)) if model.package else model.folder or model.repo
    return ModelSource(
        name=model.name,
        family=model.family,
        location=location,
        revision=model.revision if model.repo else "",
        variant=model.variant,
        overrides=model.overrides,
    )


def _package_folder(name: str) -> Path:
    return Path(str(resources.files("batch").joinpath("models", name)))


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not a configuration")
    return data


def _folder_model(name: str, folder: Path) -> Model:
    pipeline = str(_json(folder / "model_index.json").get("_class_name"))
    if pipeline not in PIPELINE_FAMILY:
        possible = ", ".join(PIPELINE_FAMILY)
        raise ModelError(f"{folder} holds a {pipeline}; only {possible} can be rendered so far")
    sample_size = int(_json(folder / "transformer" / "config.json").get("sample_size") or 32)
    return Model(
        name=name,
        family=PIPELINE_FAMILY[pipeline],
        folder=str(folder.resolve()),
        revision=_folder_revision(folder),
        sample_size=sample_size,
        native=native_for(sample_size),
    )


def _folder_revision(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.suffix != ".md"):
        if any(part.startswith((".", "__")) for part in path.relative_to(folder).parts):
            continue
        total.update(f"{path.relative_to(folder).as_posix()}\0{_sampled(path)}\n".encode())
    return total.hexdigest()[:16]


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE:
            found.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                found.update(file.read(_BLOCK))
    return found.hexdigest()


def _lora(path: str, scale: float, base: Path) -> Lora:
    file = Path(path) if Path(path).is_absolute() else base / path
    if file.suffix != ".safetensors":
        raise ModelError(f"{path} is not a .safetensors file")
    if not file.is_file():
        raise ModelError(f"there is no file {file}")
    return Lora(path=str(file.resolve()), sha256=_sampled(file), scale=scale)


def _hub_revision(repo: str, wanted: str, *, online: bool) -> str:
    """The commit a revision means: from the local cache, else from the Hub; "" when not known."""
    if len(wanted) == 40 and set(wanted) <= set("0123456789abcdef"):
        return wanted
    hub = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    cache = Path(hub) if hub else Path(home) / "hub"
    reference = cache / f"models--{repo.replace('/', '--')}" / "refs" / wanted
    if reference.is_file():
        return reference.read_text(encoding="utf-8").strip()
    if not online:
        return ""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return str(HfApi().model_info(repo, revision=wanted, timeout=20).sha)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ModelError(f"{repo} is not on this machine, and the Hub cannot be asked: {reason}") from None
