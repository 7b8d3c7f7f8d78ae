"""Models with random weights: of a packaged configuration, or of one that lies on this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from batch.base.errors import ModelError
from batch.catalogue import architectures, configs, weights
from batch.catalogue.model import Model
from batch.catalogue.models import known_models
from batch.catalogue.repositories import is_repository, problem
from batch.hub import cache, folders
from batch.hub.commits import MAIN

RANDOM = "random:"
"""Before the name of a model: the same architecture with random weights."""

RANDOM_REVISION = "random-2"
"""Which random weights: another way of drawing them gets another number."""


SHIPPED = "RUN_BATCH_SHIPPED"
"""Environment variable: a folder that holds models by their names, in place of ``batch/models``.
It is for the tests, whose ``demo`` takes next to nothing, whatever ships."""


def package_folder(name: str) -> Path:
    """Where a model lies that ships with the program."""
    folder = os.environ.get(SHIPPED, "").strip() or str(resources.files("batch").joinpath("models"))
    return Path(folder, name)


def described(name: str, read: configs.Read, *, trusted: bool) -> Model:
    """The model that configuration files describe. Raises :class:`ModelError` when they cannot be understood."""
    try:
        return configs.describe(name, read, trusted=trusted)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ModelError(f"the configuration of {name} cannot be understood: {error}") from None


def random_model(name: str, base: Path) -> Model:
    """The model after ``random:``. Raises :class:`ModelError` when there is none of that name here."""
    inner = name.removeprefix(RANDOM)
    inner = next((model.name for model in known_models().values() if model.repo == inner != ""), inner)
    known, packaged = known_models().get(inner), architectures.known().get(inner)
    place: dict[str, Any] = {}
    if packaged is not None:
        model = known or described(name, packaged.get, trusted=False)
        place = {"repo": "", "package": architectures.WORDS, "architecture": inner}
        revision = RANDOM_REVISION
    else:
        folder = (
            package_folder(known.package) if known and known.package else _configured(name, inner, known, base)
        )
        if folders.needs_of(folder).code:
            raise ModelError(f"{name} needs code of its own; random weights are for diffusers' own classes only")
        folders.check_vocabularies(name, folder)
        folders.check_configurations(name, folder)
        read = folders.reader(folder)
        model = configs.in_its_family(known, read) if known else described(name, read, trusted=False)
        place = {} if known and known.package else {"folder": str(folder.resolve()), "repo": ""}
        revision = f"{RANDOM_REVISION}-{folders.revision_of(folder, without=(*weights.WEIGHTS, '.py'))[:8]}"
    about = f"random weights: {model.about or model.pipeline}"
    # What trained weights are made for, or what must be downloaded, says nothing of these.
    untrained: dict[str, Any] = {"dtypes": (), "steps_range": None, "guidance_range": None, "largest": None}
    untrained |= {"variant": "", "licence": "", "download_gb": None, "gated": False, "own": False}
    return replace(model, name=name, about=about, random=True, revision=revision, **untrained | place)


def _configured(name: str, inner: str, known: Model | None, base: Path) -> Path:
    """Where the configuration files of a model lie: its folder, or a snapshot in the Hub's cache."""
    inner = (known.folder or known.repo) if known is not None else inner
    folder = base / inner
    repo, _, wanted = inner.partition("@")
    if inner and folders.holds_model(folder):
        return folder
    if wrong := problem(inner):
        raise ModelError(f"{name}: {wrong}")
    if is_repository(repo):
        revision = cache.known_commit(repo, wanted or MAIN)
        snapshot = cache.snapshot(repo, revision)
        if revision and folders.holds_model(snapshot):
            return snapshot
    names = [*architectures.known(), *(model.name for model in known_models().values() if model.package)]
    near = get_close_matches(inner, names, 1)
    hint = f"did you mean {RANDOM}{near[0]}? Possible" if near else "possible"
    raise ModelError(
        f"{name}: there is no such model on this machine; {hint} after {RANDOM} are {', '.join(names)}, and a "
        "folder with a model's configuration and tokenizer files"
    )
