"""Autoencoders in place of a model's own: what one is by its files, and whether it fits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.catalogue import held, signatures
from batch.catalogue.denoisers import Header, NotRecognised
from batch.catalogue.model import Model
from batch.catalogue.other_files import what_else
from batch.records.tasks import Vae

_LATENTS: Mapping[tuple[int, float], tuple[str, ...]] = {
    (4, 0.18215): ("StableDiffusion", "PixArtAlpha", "Lumina"),
    (4, 0.13025): ("StableDiffusionXL", "PixArtSigma", "Kolors", "AuraFlow", "HunyuanDiT"),
    (16, 1.5305): ("StableDiffusion3",),
    (16, 0.3611): ("Flux", "Chroma", "ZImage", "Lumina2", "OvisImage", "HiDreamImage"),
}
"""Channels of the latents that pipelines make, and what they are scaled by: by their names before ``Pipeline``.

That is in the configurations of their own autoencoders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder:
    """An autoencoder that a manifest names."""

    vae: Vae
    kind: str = ""
    """diffusers' class; "" where it is not on this machine."""
    channels: int = 0
    """Of its latents; 0 where that is not known."""
    scaling: float = 0.0
    """What its latents are scaled by; 0 where only the model's own configuration says it."""


def in_file(vae: Vae, header: Header) -> Autoencoder:
    """The one in a file: alone, or within a checkpoint. Raises :class:`NotRecognised`."""
    shape = header.get(f"{held.autoencoder(header).prefix}decoder.conv_in.weight", {}).get("shape")
    if isinstance(shape, list) and len(shape) == _FLAT:
        return Autoencoder(vae=vae, kind="AutoencoderKL", channels=int(shape[1]))
    said = what_else(header, alone=True)
    if not said or "an autoencoder" in said:
        said = (
            "it holds no autoencoder that is read from files (Stable Diffusion, SDXL, SD 3 and Flux are); "
            "name a folder or repository that has it"
        )
    raise NotRecognised(said)


_FLAT = 4
"""Sides of a convolution over pictures; one over videos has another."""


def in_configuration(vae: Vae, config: Mapping[str, Any]) -> Autoencoder:
    """The one with that configuration."""
    channels, scaling = config.get("latent_channels", config.get("z_dim")), config.get("scaling_factor")
    return Autoencoder(
        vae=vae,
        kind=str(config.get("_class_name", "")),
        channels=channels if isinstance(channels, int) else 0,
        scaling=float(scaling) if isinstance(scaling, int | float) else 0.0,
    )


def objection(model: Model, found: Autoencoder) -> str:
    """Why a model cannot take an autoencoder in place of its own; "" where it can, as far as is known here."""
    name, wanted = found.vae.name, signatures.autoencoders(model.pipeline, "vae")
    if not wanted and signatures.pipeline_call(model.pipeline) is not None:
        return f"{model.pipeline} has no autoencoder that another can take the place of"
    if wanted and found.kind and found.kind not in wanted:
        return f"{name} is an {found.kind}, and {model.name} decodes with {' or '.join(sorted(wanted))}"
    stem = model.pipeline.removesuffix("Pipeline")
    channels, scaling = next((key for key, names in _LATENTS.items() if stem in names), (0, 0.0))
    if found.channels and channels and found.channels != channels:
        return f"{name} decodes latents of {found.channels} channels, and those of {model.name} have {channels}"
    if found.scaling and scaling and abs(found.scaling - scaling) > _NEAR:
        return f"{name} takes latents scaled by {found.scaling:g}, and those of {model.name} are by {scaling:g}"
    return ""


_NEAR = 1e-3
