"""Which tensors of a checkpoint in one file belong to which component of its pipeline, by their names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from batch.catalogue.families import DENOISERS

OPEN_CLIP = (
    "cond_stage_model.model.",  # Stable Diffusion 2
    "conditioner.embedders.1.model.",  # XL
)
"""How the names of a text encoder begin that is saved as OpenCLIP does."""

_FIRST = (
    "cond_stage_model.transformer.",  # Stable Diffusion 1
    OPEN_CLIP[0],
    "conditioner.embedders.0.transformer.",  # XL
    "text_encoders.clip_l.transformer.",  # 3, and Flux as ComfyUI saves it
)
_SECOND = (OPEN_CLIP[1], "text_encoders.clip_g.transformer.")
_T5 = ("text_encoders.t5xxl.transformer.",)
_DENOISER = ("model.diffusion_model.", "diffusion_model.")
_VAE = ("first_stage_model.", "vae.")
_BESIDE = (*_VAE, "cond_stage_model.", "conditioner.", "text_encoders.", "model_ema.")


@dataclass(frozen=True, slots=True)
class Part:
    """The tensors of one component: how their names begin in the file, and those names."""

    prefix: str
    names: tuple[str, ...]


def part(component: str, kind: str, names: Collection[str]) -> Part | None:
    """A component's tensors in a file with these; None where the file does not hold it.

    ``kind`` is the component's class. Where a denoiser is alone in its file, its names may begin with nothing.
    """
    if component == "vae":
        found = _beginning(_VAE, names)
        # One of videos, which some picture models have, is called otherwise inside, and is not read.
        return found if found and f"{found.prefix}decoder.conv_in.weight" in found.names else None
    if component in DENOISERS:
        bare = tuple(name for name in names if not name.startswith(_BESIDE))
        return _beginning(_DENOISER, names) or (Part("", bare) if any("." in name for name in bare) else None)
    if kind.startswith("T5"):
        return _beginning(_T5, names)
    if kind.startswith("CLIPText"):
        return _beginning(_FIRST if component == "text_encoder" else _SECOND, names)
    return None


def autoencoder(names: Collection[str]) -> Part:
    """The same of the autoencoder in a file that holds one, alone or within a checkpoint."""
    return _beginning(_VAE, names) or Part("", tuple(names))


def _beginning(prefixes: Sequence[str], names: Collection[str]) -> Part | None:
    for prefix in prefixes:
        if own := tuple(name for name in names if name.startswith(prefix)):
            return Part(prefix, own)
    return None
