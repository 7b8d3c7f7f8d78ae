"""Where the files of a model's components lie, and what is asked about one by its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from batch.catalogue import modular

if TYPE_CHECKING:
    from batch.records.spec import ModelSource

DtypeOf = Callable[[str], torch.dtype]
"""The dtype of a component; of "" that of all others."""

LeaveOut = Callable[[str], bool]
"""Whether a component is not loaded."""


def folder_of(source: ModelSource, part: str) -> Path:
    """The folder of a component, of "" that of the model; another autoencoder's may be that of a whole model."""
    vae = Path(source.vae)
    if part != "vae" or not source.vae or not vae.is_dir():
        return Path(source.location, part)
    return vae if (vae / "config.json").is_file() else vae / part


def configuration(source: ModelSource, path: str) -> Mapping[str, Any]:
    """A configuration file by its path in the model; see :func:`batch.catalogue.modular.translated`.

    Raises :class:`OSError` when it is not there.
    """

    def read(inner: str) -> Mapping[str, Any] | None:
        folder, _, name = inner.rpartition("/")
        found = folder_of(source, folder) / name
        return json.loads(found.read_text(encoding="utf-8")) if found.is_file() else None

    found = modular.translated(read)(path)
    if found is None:
        raise FileNotFoundError(f"there is no {path} in {source.location}")
    return found
