"""The models and LoRAs that a manifest names, looked up before the grids are expanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from batch.base.errors import ModelError
from batch.catalogue.autoencoders import Autoencoder
from batch.catalogue.model import Model
from batch.manifest.schema import Grid
from batch.manifest.values import shown
from batch.records.tasks import Lora, Weights

if TYPE_CHECKING:
    from batch.plan.findings import Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The outside world, as functions of a name."""

    model: Callable[[str], Model]
    lora: Callable[[str], Lora]
    """A LoRA file with its content hash, at full strength."""
    vae: Callable[[str], Autoencoder]
    draw: Callable[[int], tuple[int, ...]]
    """That many random seeds."""
    now: Callable[[], str]
    """This machine's date and time, in ISO 8601."""


LoraNames = tuple[tuple[str, float], ...]
"""LoRAs as a manifest names them: file or Hub id, and strength."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, by the name that the manifest gives it."""

    models: dict[str, Model] = field(default_factory=dict)
    loras: dict[LoraNames, tuple[Lora, ...]] = field(default_factory=dict)

    vaes: dict[str, Autoencoder] = field(default_factory=dict)

    @property
    def beside(self) -> Iterator[tuple[str, Weights]]:
        """LoRAs and autoencoders, each with its name."""
        for names, loras in self.loras.items():
            yield from zip((path for path, _ in names), loras, strict=True)
        yield from ((name, found.vae) for name, found in self.vaes.items())

    @property
    def weights_known(self) -> bool:
        """False while a LoRA or an autoencoder of the Hub is not on this machine."""
        return all(item.known for _, item in self.beside)

    def revisions(self) -> dict[str, str]:
        """The commits of what is from the Hub; "" where one is not known yet."""
        of_models = {
            name if model.checkpoint is None else model.repo: model.revision
            for name, model in self.models.items()
            if model.repo
        }
        checkpoints = ((name, model.checkpoint) for name, model in self.models.items())
        of_files = {name: file.commit for name, file in checkpoints if file and file.commit}
        return of_models | of_files | {name: item.commit for name, item in self.beside if item.commit}


def look_up(grids: Sequence[Grid], lookup: Lookup, findings: Findings) -> Found:
    """Find what every value of the grids names; note everything that can be wrong with a single value."""
    found = Found()
    for entry in (entry for grid in grids for entry in grid.entries("model")):
        try:
            if entry.value not in found.models:
                found.models[entry.value] = lookup.model(entry.value)
        except (ModelError, OSError) as error:
            findings.wrong(entry.place, f"model: {_said(error, entry.value)}")
    for entry in (entry for grid in grids for entry in grid.entries("prompt")):
        if not entry.value.strip():
            findings.wrong(entry.place, "prompt: one of its alternatives is empty, and nothing stands around it")
    lora = cache(lookup.lora)  # one strength after the other is of the same file
    for entry in (entry for grid in grids for entry in grid.entries("lora")):
        try:
            if entry.value not in found.loras:
                found.loras[entry.value] = tuple(replace(lora(path), scale=scale) for path, scale in entry.value)
        except (ModelError, OSError) as error:
            named = ", ".join(path for path, _ in entry.value)
            findings.wrong(entry.place, f"lora: {_said(error, named)}")
    for entry in (entry for grid in grids for entry in grid.entries("vae")):
        try:
            if entry.value and entry.value not in found.vaes:
                found.vaes[entry.value] = lookup.vae(entry.value)
        except (ModelError, OSError) as error:
            findings.wrong(entry.place, f"vae: {_said(error, entry.value)}")
    return found


def _said(error: ModelError | OSError, name: str) -> str:
    """A system's refusal, of a name that is too long for it, names the whole path and nothing else."""
    return f"{shown(name)} cannot be looked up: {error.strerror}" if isinstance(error, OSError) else str(error)
