"""What is known about models before any of them is loaded: sizes, defaults, where the weights are.

The data is in ``models.yaml`` and ``bins.yaml`` beside this file; no torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from batch.manifest.values import Size, size
from batch.records import Value

SIZE_STEP = 32
"""SANA's autoencoder turns 32x32 pixels into one latent."""

DTYPES = ("float32", "bfloat16", "float16")

SCHEDULERS = {
    "dpm++": "DPMSolverMultistepScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "sa-solver": "SASolverScheduler",
}
"""Schedulers that follow SANA's flow prediction, by the name a manifest uses and diffusers' class."""

EXTRA_STAGE = {
    "sana": {
        "clean_caption": "encode",
        "max_sequence_length": "encode",
        "complex_human_instruction": "encode",
        "timesteps": "denoise",
        "sigmas": "denoise",
        "eta": "denoise",
    }
}
"""Arguments of a family's pipeline call that ``extra.<argument>`` may set, and the stage they act in."""

PIPELINE_FAMILY = {"SanaPipeline": "sana"}
"""The family that renders a pipeline class of diffusers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model with its defaults. Exactly one of ``package``, ``repo`` and ``folder`` says where it is."""

    name: str
    family: str = "sana"
    package: str = ""
    repo: str = ""
    folder: str = ""
    about: str = ""
    variant: str = ""
    revision: str = ""
    sample_size: int = 0
    native: Size
    dtype: str = "bfloat16"
    steps: int = 20
    guidance: float = 4.5
    weights_gib: float | None = None
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def rendered(self, asked: Size) -> Size:
        """The size the model really renders for one asked for.

        SANA takes the bin with the nearest height/width ratio, whatever the magnitude
        (diffusers ``classify_height_width_bin``), so a 4K request on a 1K model renders 1K.
        """
        bins = _bins().get(self.sample_size)
        if not bins:
            return asked
        ratio = asked.height / asked.width
        nearest = min(bins, key=lambda known: abs(float(known) - ratio))
        return bins[nearest]

    def sizes(self) -> list[Size]:
        """Every size the model renders natively."""
        return [known for known in _bins().get(self.sample_size, {}).values() if self.rendered(known) == known]


def _yaml(name: str) -> Any:
    return yaml.safe_load(resources.files("batch.plan").joinpath(name).read_text(encoding="utf-8"))


@cache
def _bins() -> dict[int, dict[str, Size]]:
    return {
        sample: {ratio: size(text) for ratio, text in bins.items()} for sample, bins in _yaml("bins.yaml").items()
    }


@cache
def known_models() -> dict[str, Model]:
    """The catalogue, by name."""
    return {
        name: Model(name=name, **{**entry, "native": size(entry["native"])})
        for name, entry in _yaml("models.yaml").items()
    }


def native_for(sample_size: int) -> Size:
    """The square size of a SANA transformer with that ``sample_size``."""
    return Size(sample_size * SIZE_STEP, sample_size * SIZE_STEP)


def scheduler_class(name: str) -> str | None:
    """The class behind a scheduler's short or full name; None when it is not one that is known."""
    if name in SCHEDULERS:
        return SCHEDULERS[name]
    return name if name in SCHEDULERS.values() else None


def digest(parts: Any) -> str:
    """A short hash of plain values, the same in every process."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]
