"""The catalogue of models: those that ship with the program, and the user's own.

Both are the same YAML: a name, and what is known of the model; ``like`` takes what is not said from another
one. The user's file is ``RUN_BATCH_MODELS``, or ``models.yaml`` in the user's configuration folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from batch.base.errors import ManifestError, Problem
from batch.catalogue import repositories, signatures
from batch.catalogue.families import FAMILIES, family_of
from batch.catalogue.model import Model
from batch.manifest import document, values

DtypeName = Literal["float32", "bfloat16", "float16"]


class ModelEntry(BaseModel):
    """What a file of models may say of one model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    like: str = Field("", description="Another model's name: what is not said here is as there.")
    about: str = Field("", description="One line for the list.")
    repo: str = Field("", pattern=r"^([\w][\w.-]*/[\w.-]+)?$", description="A repository of the Hub, owner/name.")
    revision: str = Field("", description="A branch, tag or commit of it; main when left out.")
    folder: str = Field("", description="Or a folder with a diffusers model; relative to this file.")
    file: str = Field(
        "",
        description="Or a checkpoint in one file: its path, relative to this file, or owner/name/file of the Hub.",
    )
    package: str = Field("", description="Or a model that ships with the program.")
    variant: str = Field("", description="Which of several precisions of the weights to take: fp16, bf16.")
    pipeline: str = Field("", description="diffusers' class.")
    native: str = Field("", description="The size taken where a manifest names none, WIDTHxHEIGHT.")
    sample_size: int = Field(0, ge=0, description="Of SANA and PixArt: side of the square size in latents.")
    size_step: int = Field(32, ge=1, description="Sides are multiples of this.")
    largest: str = Field("", description="About the most pixels it was trained on, WIDTHxHEIGHT.")
    dtype: DtypeName = Field("bfloat16", description="What a manifest that names none takes.")
    dtypes: list[DtypeName] = Field([], description="Those that give sound pictures; others are refused.")
    steps: int = Field(20, ge=1, le=1000, description="Denoising steps where a manifest names none.")
    steps_range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Fewest and most that make sense: [10, 50]."
    )
    guidance: float = Field(4.5, ge=0, description="Guidance where a manifest names none.")
    guidance_range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Least and most that make sense; [0, 1] for a model distilled to do without."
    )
    embeds_guidance: bool = Field(True, description="false where guidance has no effect at all: it is refused.")
    negative: bool = Field(True, description="false for a model distilled to do without guidance: it reads none.")
    fixed_steps: bool = Field(False, description="true where its files fix the steps: others are refused.")
    needs: list[str] = Field([], description="Python packages it needs beside the program's: [sentencepiece].")
    scheduler: str = Field("", description="diffusers' class of its own scheduler.")
    flow_shift: float | None = Field(
        None, gt=0, description="What its scheduler's flow is shifted by, whatever its files say."
    )
    prediction: Literal["flow", "epsilon", "v_prediction", "sample", "trigflow", "edm", ""] = Field(
        "flow", description="What it predicts, which decides the schedulers that can follow."
    )
    dynamic_shift: bool = Field(False, description="The flow's shift depends on the size.")
    blocks: int = Field(0, ge=0, description="Of SANA: transformer blocks, which PAG may name.")
    qk_norm: bool = Field(False, description="Of SANA: its attention normalises queries and keys, as in 1.5.")
    weights_gib: float | None = Field(None, gt=0, description="Denoiser and autoencoder on the device, in GiB.")
    download_gb: float | None = Field(None, gt=0, description="About what a download takes, in GB.")
    licence: str = Field("", description="Under which it may be used.")
    source: str = Field("", description="Where these facts are from, for whoever looks them up.")
    gated: bool = Field(False, description="The Hub wants its terms accepted first.")
    overrides: dict[str, dict[str, object]] = Field(
        default={}, description="Configuration values by component, in place of those in the files."
    )

    @field_validator("repo")
    @classmethod
    def _is_a_repository(cls, repo: str) -> str:
        if repo and (wrong := repositories.problem(repo)):
            raise ValueError(wrong)
        return repo

    @field_validator("native", "largest")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        return str(values.size(text)) if text else ""


PLACES = ("repo", "folder", "file", "package")

PACKAGED = (
    "models.yaml", "models_stable.yaml", "models_flux.yaml", "models_alibaba.yaml", "models_others.yaml",
    "models_modular.yaml",
)  # fmt: skip
"""The files of those that ship, in the order of the list: one may be like another of a file before its own."""


def known_models() -> Mapping[str, Model]:
    """Every model by name, the user's own last. Raises :class:`ManifestError` for mistakes in the user's file."""
    path = own_file()
    if path.is_dir():
        named = "RUN_BATCH_MODELS names a folder" if _named() else "this is a folder"
        raise ManifestError([Problem(str(path), 0, f"{named}; it wants a file, such as {path / 'models.yaml'}")])
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        if _named():
            raise ManifestError(
                [Problem(str(path), 0, "RUN_BATCH_MODELS names this file, and it is not there")]
            ) from None
        return packaged()
    return _with_own(path, changed)


def where_rendered(model: Model, asked: values.Size) -> str:
    """Where to look for a size in place of one that a model with a table does not render; in words."""
    others = [other.name for other in known_models().values() if other.family == model.family]
    there = [name for name in others if asked in known_models()[name].sizes()]
    renders = [f", and {name} renders {asked}" for name in get_close_matches(model.name, there, 1, 0)]
    return f"`models {model.name}` lists its sizes" + "".join(renders)


def own_file() -> Path:
    """Where the user's own models are, whether it exists or not."""
    named, folder = _named(), user_config_path("run_batch", appauthor=False)
    return Path(named).expanduser() if named else folder / "models.yaml"


def _named() -> str:
    """The variable; an empty one is as good as none."""
    return os.environ.get("RUN_BATCH_MODELS", "").strip()


@cache
def packaged() -> Mapping[str, Model]:
    """Those that ship with the program."""
    found: dict[str, Model] = {}
    for file in PACKAGED:
        text = resources.files("batch.catalogue").joinpath(file).read_text(encoding="utf-8")
        read = _read(document.parse(text, file), found)
        found |= {name: model for name, (_, model) in read.items()}
    return found


@cache
def _with_own(path: Path, _changed: int) -> Mapping[str, Model]:
    text = document.read_text(path, str(path))
    if not any(line.partition("#")[0].strip() for line in text.splitlines()):
        return packaged()  # none as yet
    read = document.parse(text, str(path))
    own = _read(read, packaged())
    problems: list[Problem] = []
    # Where diffusers is not there to read, nobody knows which classes it has.
    for name, (_, model) in own.items() if signatures.pipeline_call("SanaPipeline") is not None else ():
        known = {
            model.pipeline: signatures.pipeline_call(model.pipeline),
            model.scheduler: signatures.scheduler_settings(model.scheduler),
        }
        missing = [kind for kind, found in known.items() if kind and found is None]
        if missing:
            problems.append(read.problem((name,), f"{name}: the installed diffusers has no {missing[0]}"))
    if problems:
        raise ManifestError(problems)
    entries = {name: entry for name, (entry, _) in own.items()}
    return {**packaged(), **{name: _as_own(model, entries, path.parent) for name, (_, model) in own.items()}}


def _as_own(model: Model, entries: Mapping[str, ModelEntry], base: Path) -> Model:
    """A model of the user's file: its folder is relative to that, and its scheduler set to its flow shift.

    The shift is the one that its entry names, or the entry that it is like. A packaged model's is what it comes
    with.
    """
    entry = entries[model.name]
    said = entry.model_fields_set
    model = replace(model, own=True, folder=str(base / model.folder) if model.folder else "")
    if said.intersection(PLACES):  # of another model's files
        unknown: dict[str, Any] = {"licence": "", "source": "", "download_gb": None, "gated": False}
        model = replace(model, **{key: value for key, value in unknown.items() if key not in said})
    while entry.flow_shift is None and entry.like in entries:
        entry = entries[entry.like]
    if entry.flow_shift is None:
        return model
    setting = "shift" if "shift" in (signatures.scheduler_settings(model.scheduler) or {}) else "flow_shift"
    scheduler = {**model.overrides.get("scheduler", {}), setting: entry.flow_shift}
    return replace(model, overrides={**model.overrides, "scheduler": scheduler})


def _read(read: document.Document, before: Mapping[str, Model]) -> dict[str, tuple[ModelEntry, Model]]:
    """The models of a file, on top of those there are, each with its entry; every mistake in it at once."""
    found: dict[str, tuple[ModelEntry, Model]] = {}
    problems: list[Problem] = []
    if not isinstance(read.data, dict):
        raise ManifestError([read.problem((), "the file maps names to models: `my-model: {repo: owner/name}`")])
    for name, written in read.data.items():
        wrong = _name_problem(name, written, before)
        if wrong:
            problems.append(read.problem((name,), wrong))
            continue
        try:
            entry = ModelEntry.model_validate(written)
            parent = found[entry.like][1] if entry.like in found else before.get(entry.like)
            if entry.like and parent is None:
                near = get_close_matches(entry.like, [*before, *found], 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                wrong = f"{name}: there is no model {entry.like} above or in the catalogue{hint}"
                problems.append(read.problem((name, "like"), wrong))
                continue
            found[name] = entry, _model(name, entry, parent)
        except ValidationError as error:
            problems += [_said(read, name, item) for item in error.errors()]
        except ValueError as error:
            problems.append(read.problem((name,), f"{name}: {error}"))
    if problems:
        raise ManifestError(problems)
    return found


def _name_problem(name: str, written: document.Yaml, before: Mapping[str, Model]) -> str:
    if name in before:
        return f"'{name}' is a model that ships with the program; give yours another name"
    if not re.fullmatch(r"\w[\w.-]*", name):
        return f"{values.shown(name)} cannot name a model; use letters, digits, dots, - and _"
    if not isinstance(written, dict):
        return f"{name}: write what it is: {{repo: owner/name, like: sana-1.6b-4k}}"
    return ""


def _said(read: document.Document, name: str, error: ErrorDetails) -> Problem:
    """One of pydantic's errors, at its line."""
    key = ".".join(str(part) for part in error["loc"] if not isinstance(part, int)) or "?"
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, ModelEntry.model_fields, 1)
        hint = f"did you mean {near[0]}?" if near else f"possible are {', '.join(ModelEntry.model_fields)}"
        return read.problem((name, key), f"{name}: {key} is unknown; {hint}")
    text = error["msg"].removeprefix("Value error, ")
    return read.problem((name, *error["loc"]), f"{name}: {key}: {text[0].lower() + text[1:]}")


def _model(name: str, entry: ModelEntry, parent: Model | None) -> Model:
    """An entry as a model. Raises ``ValueError`` for what only the whole of it shows."""
    places = [key for key in PLACES if getattr(entry, key)]
    if len(places) > 1:
        raise ValueError(f"{places[0]} and {places[1]} are both given; a model is in one place")
    if not places and parent is None:
        raise ValueError("say where it is: repo, folder or file")
    given = _given(entry)
    if parent is None:
        if "native" not in given or "pipeline" not in given:
            raise ValueError("say pipeline and native, or like which other model it is (like: sdxl)")
        made = Model(name=name, **given)
    else:
        # What is like another is another all the same: its own place, and nothing about that of the other.
        own: dict[str, Any] = {"about": f"like {parent.name}", "revision": ""}
        own |= dict.fromkeys(PLACES, "") if entry.model_fields_set.intersection(PLACES) else {}
        for key in ("steps", "guidance"):  # the range is another's too where the default lies outside it
            span = getattr(parent, f"{key}_range")
            if key in given and span and not span[0] <= given[key] <= span[1]:
                own[f"{key}_range"] = None
        made = replace(parent, name=name, **own | given)
    if made.dtypes and made.dtype not in made.dtypes:
        raise ValueError(f"dtype {made.dtype} is not among dtypes")
    if FAMILIES[made.family].bin_pixels and not made.sizes():
        raise ValueError(f"sample_size {made.sample_size} is none of {made.pipeline}; see models for others'")
    if made.sizes() and made.native not in made.sizes():
        raise ValueError(f"native {made.native} is not a size that it renders")
    return made


def _given(entry: ModelEntry) -> dict[str, Any]:
    """What an entry says, as a model has it."""
    given: dict[str, Any] = {key: getattr(entry, key) for key in entry.model_fields_set - {"like"}}
    for key in ("native", "largest"):
        if key in given:
            given[key] = values.size(given[key]) if given[key] else None
    if given.get("native", True) is None:
        del given["native"]  # as if it were not there
    for key in ("dtypes", "needs", "steps_range", "guidance_range"):
        if given.get(key) is not None:
            given[key] = tuple(given[key])
    if "overrides" in given:
        given["overrides"] = {
            part: {key: values.frozen(value) for key, value in settings.items()}
            for part, settings in entry.overrides.items()
        }
    if "pipeline" in given:
        given["family"] = family_of(entry.pipeline, {})
    return given
