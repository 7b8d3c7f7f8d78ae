"""What pictures were made with, fitted to the model that is to render them, so that ``plan`` accepts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.base.errors import ModelError, UserError
from batch.catalogue import pag
from batch.catalogue.families import CLIP_PIPELINES, FAMILIES
from batch.catalogue.model import Model
from batch.catalogue.models import known_models, where_rendered
from batch.manifest import recover, values
from batch.manifest.axes import axis
from batch.manifest.recovered import Recovered
from batch.memory import profiles
from batch.plan import checks
from batch.plan.pins import Pins
from batch.run.lookup import lookup
from batch.upkeep import checkpoints


@dataclass(frozen=True, slots=True)
class _Fit:
    """What is to be done to every picture of one setting."""

    left_out: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    """Values of axes in place of others."""
    notes: tuple[str, ...] = ()
    clip: bool = True
    """All text encoders of the model are CLIP, as far as that is known."""


@dataclass(slots=True)
class Fitting:
    """Looks up each model once, on this machine alone, and asks of each setting once what it cannot do."""

    folder: Path
    """Where the manifest will lie: model folders are relative to it."""
    trusted: str | None
    """The model that the user has named. Of others no folder is looked at: pictures are anybody's."""
    kept: frozenset[str] = frozenset()
    """Axes that the user has set for all: what speaks against them is an error."""
    _models: dict[str, Model | str] = field(default_factory=dict)
    """The model, or why there is none."""
    _fits: dict[object, _Fit] = field(default_factory=dict)
    _files: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _vaes: dict[str, str] = field(default_factory=dict)

    def fitted(self, picture: Recovered) -> Recovered:
        """The picture without what its model cannot do, with a note of each; as it is where that is not known.

        Raises :class:`UserError` where the model cannot do what is to be kept.
        """
        picture = self._with_vae(self._with_file(picture))
        if "model" in self.kept and "model" not in picture.axes:
            return picture  # there are several
        setting = {name: value for name, value in picture.axes.items() if name not in ("prompt", "seed")}
        setting["negative_prompt"] = "x" if setting.get("negative_prompt") else ""
        if setting.get("model") != self.trusted and recover.places(picture):
            return picture
        key = (repr(setting), picture.resize)
        if key not in self._fits:
            self._fits[key] = self._fit(setting, resize=picture.resize)
        fit = self._fits[key]
        axes = {name: value for name, value in picture.axes.items() if name not in fit.left_out}
        fitted = replace(picture, axes={**axes, **fit.instead}, notes=picture.notes + fit.notes)
        if fit.clip or not picture.texts:
            return fitted
        note = f"left out: {', '.join(picture.texts)}: not all text encoders of the model are CLIP"
        return replace(fitted, texts={}, notes=(*fitted.notes, note))

    def _with_file(self, picture: Recovered) -> Recovered:
        """With the checkpoint that lies beside the manifest in place of its name there, or before."""
        name = str(picture.axes.get("model", ""))
        if not name or name in (self.trusted, *known_models()):
            return picture
        key = (name, picture.model_hash)
        if key not in self._files:
            self._files[key] = checkpoints.beside(self.folder, name, picture.model_hash)
        path, note = self._files[key]
        if not path:
            return picture
        notes = (*picture.notes, note) if note else picture.notes
        return replace(picture, axes={**picture.axes, "model": path}, notes=notes)

    def _with_vae(self, picture: Recovered) -> Recovered:
        """With the autoencoder that lies beside the manifest, if there is one of another program's name."""
        if not picture.vae:
            return picture
        if picture.vae not in self._vaes:
            self._vaes[picture.vae] = checkpoints.vae_beside(self.folder, picture.vae)
        if path := self._vaes[picture.vae]:
            return replace(picture, axes={**picture.axes, "vae": path})
        note = f"left out: VAE {values.shortened(picture.vae)}: there is no such file beside the manifest"
        return replace(picture, notes=(*picture.notes, note))

    def _fit(self, axes: dict[str, object], *, resize: bool) -> _Fit:
        model = self._model(str(axes.get("model", "")))
        if isinstance(model, str):
            return _Fit(notes=(model,))
        notes, left_out, instead = list[str](), set[str](), dict[str, str]()
        while found := next(_objections(model, axes), None):
            name, message = found
            self._may_not_be_kept(name, message)
            plain, settings, _ = str(axes[name]).partition("(")
            if name == "scheduler" and settings and name not in instead:  # it may do without them
                axes[name] = instead[name] = plain
                notes.append(f"left out: settings of the scheduler {plain}: {message}")
                continue
            instead.pop(name, None)
            shown = "" if name == "negative_prompt" else f" {values.shortened(str(axes[name]))}"
            notes.append(f"left out: {name}{shown}: {message}")
            left_out.add(name)
            del axes[name]
        size, note = _size(model, axes, resize=resize)
        if note:
            self._may_not_be_kept("size", note.removeprefix("size: "))
            instead["size"] = size
            notes.append(note)
        return _Fit(frozenset(left_out), instead, tuple(notes), model.pipeline in CLIP_PIPELINES)

    def _may_not_be_kept(self, name: str, message: str) -> None:
        if name in self.kept:
            raise UserError(f"--set {name}: {message}")

    def _model(self, name: str) -> Model | str:
        if not name:
            return "it names no model; write one under model:, or name it with --model"
        if name not in self._models:
            try:
                self._models[name] = lookup(str(self.folder), Pins()).model(name)
            except (ModelError, OSError) as error:
                said = str(error) if isinstance(error, ModelError) else f"{values.shown(name)} cannot be looked up"
                self._models[name] = f"model: {said}; name another one with --model"
        return self._models[name]


def _objections(model: Model, axes: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """What the model refuses of axes that can be left out."""
    given = {name: _read(name, value) for name, value in axes.items() if name not in ("model", "prompt", "seed")}
    for name, message in checks.objections(model, given):
        if name in axes:
            yield name, message
    asked = given.get("size")
    size = model.rendered(asked if isinstance(asked, values.Size) else model.native)
    without = profiles.lacking(FAMILIES[model.family], pag=bool(given.get(f"extra.{pag.SCALE}")))
    if "memory" not in axes:
        return
    try:
        profiles.resolve(str(given["memory"]), size, without)
    except ValueError as error:
        yield "memory", str(error)


def _read(name: str, value: object) -> object:
    """One value as the manifest's reader makes it; :mod:`batch.manifest.recover` has made sure that it is one."""
    known = axis(name)
    assert known is not None
    read = known.read(value[0] if name.startswith("extra.") and isinstance(value, list) else value)
    return read[0] if isinstance(read, list | range) and name == "steps" else read


def _size(model: Model, axes: Mapping[str, object], *, resize: bool) -> tuple[str, str]:
    """The size that the model renders for the one asked, and what to say of it; "" where they are one."""
    asked = _read("size", axes["size"]) if "size" in axes else None
    if not isinstance(asked, values.Size):
        return "", ""
    right, step = model.rendered(asked), model.size_step
    if right == asked and any(side % step for side in asked):
        right = values.Size(*(max(step, round(side / step) * step) for side in asked))
    elif resize:
        return "", ""
    if right == asked:
        return "", ""
    where = f"; {where_rendered(model, asked)}" if model.sizes() else ""
    said = f"{model.name} renders {right}, not {asked}{where}; resize: true with {asked} would resample it"
    return str(right), f"size: {said}"
