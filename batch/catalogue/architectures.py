"""Configurations that ship with the program, for models with random weights: what to build, without a download.

The files of ``architectures/`` beside this one name parts and models. A part is a component's class and its
configuration; a model says which parts it has, each by name, or by what it is ``like`` and where it differs. Here
they become the configuration files of a diffusers folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import yaml

from batch.catalogue import weights
from batch.catalogue.configs import Config

WORDS = "demo"
"""The packaged model that lends its tokenizer to models with Gemma: its ids lie inside every Gemma's vocabulary.
It knows few words, so a text becomes three to four times the tokens. Others have one that is built
(:mod:`batch.render.random_tokenizers`)."""

_FILES = (
    "text_encoders", "tokenizers", "autoencoders", "sana", "stable_diffusion", "flux", "flux2", "qwen_image",
    "modular",
)  # fmt: skip

_LIKE, _CLASS = "like", "class"
_SETTINGS = ("pipeline", "settings")
"""Keys of a model that are no components."""


@cache
def known() -> Mapping[str, Mapping[str, Config]]:
    """Every architecture by name: its configuration files by their path."""
    folder = resources.files("batch.catalogue").joinpath("architectures")
    read = [yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8")) for name in _FILES]
    parts = {name: part for file in read for name, part in file.get("parts", {}).items()}
    models = {name: model for file in read for name, model in file.get("models", {}).items()}
    return {name: _files(_whole(model, models), parts) for name, model in models.items()}


def _whole(entry: Config, others: Mapping[str, Config]) -> Config:
    """An entry with what it takes from the one that it is like."""
    if _LIKE not in entry:
        return entry
    return {**_whole(others[entry[_LIKE]], others), **{key: entry[key] for key in entry if key != _LIKE}}


def _files(model: Config, parts: Mapping[str, Config]) -> dict[str, Config]:
    """The configuration files of a model whose components are named."""
    index = {"_class_name": model["pipeline"], **model.get("settings", {})}
    files: dict[str, Config] = {weights.INDEX: index}
    for name, said in model.items():
        if name in _SETTINGS:
            continue
        part = dict(_whole({_LIKE: said} if isinstance(said, str) else said, parts))
        library, kind = part.pop(_CLASS).split(".")
        index[name] = [library, kind]
        files[f"{name}/{_file_of(name)}"] = {"_class_name": kind, **part} if library == "diffusers" else part
    return files


def _file_of(component: str) -> str:
    if component == "scheduler":
        return "scheduler_config.json"
    reads = "tokenizer" in component or component.startswith("processor")
    return "tokenizer_config.json" if reads else "config.json"
