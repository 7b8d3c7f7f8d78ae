"""What a model's memory and its tokens are counted by, without its weights: its configuration files."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from batch import __version__
from batch.base.errors import BatchError
from batch.catalogue import architectures, modular, weights
from batch.catalogue.families import FAMILIES, digest
from batch.catalogue.model import Model
from batch.catalogue.models import known_models
from batch.hub import folders, models
from batch.hub.random_models import package_folder
from batch.records.spec import ModelSource

COUNTING = 3
"""The way of counting: another one gets another number, and what was kept is asked anew."""

_CONFIGURATIONS = ("config.json", "scheduler_config.json", "tokenizer_config.json", weights.INDEX, modular.INDEX)


def source_of(model: Model) -> ModelSource | str:
    """Where a model's configuration is, or why it cannot be predicted."""
    if not FAMILIES[model.family].staged:
        return "its pipeline is called whole"
    known = next((name for name, item in known_models().items() if model.repo and item.repo == model.repo), "")
    try:
        found = models.source(model)
        if found.trust_remote_code:
            return "it runs code of its own"
        if model.random or is_configured(Path(found.location)):
            return found
    except BatchError as error:
        return str(error)
    if known not in architectures.known():
        return "its configuration files are not on this machine: `fetch` the manifest first"
    return ModelSource(
        name=model.name,
        family=model.family,
        location=str(package_folder(architectures.WORDS)),
        overrides=model.overrides,
        random=True,
        architecture=known,
    )


def is_configured(folder: Path) -> bool:
    """Whether all is there to build a model from, but for its weights."""
    if not folders.holds_model(folder):
        return False
    for part in weights.components(folders.index_of(folder)):
        files = folders.inside(folder, part)
        if weights.lacks_words(part, files) or (weights.is_weighted(part) and "config.json" not in files):
            return False
    return True


def built_from(source: ModelSource) -> str:
    """A hash of what a model is built from."""
    if source.architecture:
        found: Any = architectures.known()[source.architecture]
    else:
        places = [source.location, *([source.vae] if source.vae else [])]
        inside = (path for place in places for path in Path(place).rglob("*.json"))
        paths = sorted(path for path in inside if path.name in _CONFIGURATIONS)
        found = [(path.parent.name, path.read_text(encoding="utf-8")) for path in paths]
    return digest([source.family, found, {name: dict(item) for name, item in source.overrides.items()}])


@cache
def counted_by() -> list[object]:
    """What every answer depends on: another way of counting, or another library, may give another one."""
    return [COUNTING, __version__, [metadata.version(name) for name in ("torch", "diffusers", "transformers")]]
