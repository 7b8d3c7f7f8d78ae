"""What ``doctor`` finds out about a machine: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from batch.base.nvml import Card
from batch.base.orphans import Orphan


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something to know; ``stops`` when nothing can be rendered until it is put right."""

    text: str
    remedy: str = ""
    stops: bool = False


class TorchDevice(TypedDict):
    """A GPU as torch shows it, on which a first kernel has run; memory in bytes."""

    name: str
    memory: int
    capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Torch:
    """What torch said of itself; ``stage`` and ``error`` are set where it failed: torch, cuda or diffusers."""

    version: str | None = None
    cuda: str | None = None
    mps: bool = False
    devices: tuple[TorchDevice, ...] = ()
    stage: str = ""
    error: str = ""


class Purpose(StrEnum):
    """What lies in a folder that the program writes to."""

    PICTURES = "pictures"
    MODELS = "models"
    EMBEDDINGS = "prompt embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A folder the program writes to, its free space in bytes, and what moves it elsewhere."""

    what: Purpose
    path: str
    free: int | None
    moved_by: str
    decided_by: str = ""
    """The variable that says it is there; empty for the place where it is by itself."""
    used: int | None = None
    """Bytes in it, where they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForModels:
    """A package that only some models need."""

    version: str | None
    """None is missing."""
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was looked at."""

    program: str
    python: str
    executable: str
    system: str
    cores: int
    memory: int
    memory_free: int
    driver: str
    cards: tuple[Card, ...]
    torch: Torch
    no_compiler: str
    """Why models cannot be compiled for a card; empty where they can."""
    packages: Mapping[str, str | None]
    extras: Mapping[str, Mapping[str, str | None]]
    """By extra, its packages and their versions; None is missing."""
    for_models: Mapping[str, ForModels]
    """By package, what models of the catalogue need beside the program's own."""
    places: tuple[Storage, ...]
    orphans: tuple[Orphan, ...]
    """Processes of this program whose parent is gone, as far as this user may see them."""
    notes: tuple[Note, ...]

    @property
    def device(self) -> str:
        """What a run would render on: ``cuda``, ``mps`` or ``cpu``; empty where nothing can be rendered."""
        if any(note.stops for note in self.notes):
            return ""
        return "cuda" if self.torch.devices else "mps" if self.torch.mps else "cpu"
