"""What ``--set`` changes of the manifest that is made of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batch.base.errors import ManifestError, UserError
from batch.manifest import formats, values
from batch.manifest.axes import AXES, axis
from batch.manifest.document import Document, Location, Place
from batch.manifest.override import override, read_override
from batch.manifest.read import manifest_of
from batch.manifest.recovered import Recovered

_NOT_ASKED = {"prompt", "seed"}
"""Axes of which no model refuses a value."""

_FIRST = ("name", "kind", "repeats")
_PICTURES = ("include", "rows")
"""What holds the pictures in a manifest, besides the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Axes in place of those of all pictures, and other keys of the manifest."""

    axes: Mapping[str, object]
    keys: Sequence[str]
    """``KEY=VALUE`` of all that is no axis."""
    places: Mapping[Location, Place]
    """Where each was written."""
    resize: bool = False
    """Whether ``resize`` is among the keys, and true."""

    @classmethod
    def read(cls, overrides: Iterable[str], model: str | None = None) -> Changes:
        """``KEY=VALUE`` each, and ``model`` for all. Raises :class:`UserError` for what none of them can be."""
        axes: dict[str, object] = {"model": model} if model is not None else {}
        keys, places, resize = list[str](), dict[Location, Place](), False
        for written in overrides:
            location, value = read_override(written)
            if location[0] in _PICTURES or location == ("grid",):
                raise UserError(f"--set {location[0]}: the pictures stand there; set an axis, for example size=…")
            if location == ("grid", "model") and model is not None:
                raise UserError("--model and --set model name the model both; keep one")
            if location[0] == "grid" and len(location) == 2:
                axes[location[1]] = value.data
            else:
                keys.append(written)
            places[location] = value.place(())
            resize = value.data is True if location == ("resize",) else resize
        return cls(axes=axes, keys=keys, places=places, resize=resize)

    @property
    def several(self) -> frozenset[str]:
        """The axes that have not one value, but several, or none that is possible."""
        return frozenset(name for name, value in self.axes.items() if not _is_one(name, value))

    @property
    def model(self) -> str | None:
        """The one model that the user has named for all."""
        named = self.axes.get("model")
        return named if isinstance(named, str) else None

    def without(self, picture: Recovered) -> Recovered:
        """A picture with those axes alone that are its own."""
        return replace(picture, axes={key: value for key, value in picture.axes.items() if key not in self.axes})

    def before(self, picture: Recovered) -> Recovered:
        """A picture with those axes that have one value, so that it can be fitted to its model."""
        axes = self.without(picture).axes
        one = {name: value for name, value in self.axes.items() if name not in self.several}
        return self._with(picture, {**axes, **one})

    def each(self, picture: Recovered) -> Iterator[Recovered]:
        """A picture with every listed value of the axes that have several, to ask its model about."""
        before = self.before(picture)
        for name in self.several - _NOT_ASKED:
            listed = self.axes[name]
            for value in listed if isinstance(listed, list) else ():
                if _is_one(name, value):
                    yield replace(before, axes={**before.axes, name: value})

    def of(self, picture: Recovered) -> Recovered:
        """The picture as the manifest is to have it."""
        return self._with(picture, {**picture.axes, **self.axes})

    def _with(self, picture: Recovered, axes: Mapping[str, object]) -> Recovered:
        first = {"model": axes["model"]} if "model" in axes else {}
        # What was resampled was so from another size.
        resize = self.resize or (picture.resize and "size" not in self.axes)
        return replace(picture, axes={**first, **axes}, resize=resize)

    def apply(self, data: dict[str, object], path: Path) -> dict[str, object]:
        """A manifest with the keys. Raises :class:`UserError` for a key or value that none takes."""
        document = Document(data, str(path), {(): Place(str(path), 0)})  # type: ignore[arg-type]  # plain data
        self._forget_options(document)
        for written in self.keys:
            override(document, written)
        included = document.sections.get("include")
        entries = range(len(included) if isinstance(included, list) else 0)
        axes = {key[1:]: place for key, place in self.places.items() if key[0] == "grid"}
        document.places.update(self.places)
        document.places.update({("include", at, *key): axes[key] for at in entries for key in axes})
        self._check(document, path)
        return {key: data[key] for key in _FIRST if key in data} | data

    def _forget_options(self, document: Document) -> None:
        """Options of the format that the pictures had mean nothing to another one."""
        output = document.sections.get("output")
        for written in self.keys:
            location, value = read_override(written)
            if location != ("output", "format") or not isinstance(output, dict):
                continue
            if not isinstance(value.data, str) or formats.canonical(value.data) != output.get("format"):
                document.sections.pop("output", None)

    def _check(self, document: Document, path: Path) -> None:
        try:
            manifest_of(document, path)
        except ManifestError as error:
            # Of what else is wrong the notes speak: a picture that names no model, say.
            ours = {place.source for place in self.places.values()}
            if wrong := [problem for problem in error.problems if problem.source in ours]:
                raise ManifestError(wrong) from None


def _is_one(name: str, value: object) -> bool:
    """Whether an axis has one value, and one that is possible, to look at before the whole is read."""
    known = axis(name)
    if known is None or isinstance(value, list | dict):
        return False
    try:
        read = known.read(value)
    except ValueError:
        return False
    if name not in AXES or not isinstance(read, list | range):
        return True
    return len(read) == 1 and not isinstance(read[0], values.RandomSeeds)
