"""Where the files of a model's components lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch.records.spec import ModelSource


def folder_of(source: ModelSource, part: str) -> Path:
    """The folder of a component, of "" that of the model; another autoencoder's may be that of a whole model."""
    vae = Path(source.vae)
    if part != "vae" or not source.vae or not vae.is_dir():
        return Path(source.location, part)
    return vae if (vae / "config.json").is_file() else vae / part
