"""The dtype of every component, from the one word or the call that a manifest writes.

``bfloat16`` is what the denoiser computes in; ``bfloat16(vae=float32)`` names components that differ. Some
families keep parts of themselves out of float16, where they overflow
(:attr:`batch.catalogue.families.Family.float16_parts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from batch.catalogue import signatures
from batch.catalogue.families import DTYPES, FAMILIES
from batch.catalogue.model import Model
from batch.manifest.values import call

_WITHOUT = re.compile(
    r".*tokenizer|scheduler|feature_extractor|.*processor|safety|pag_|.*_scale$|add_|requires_|is_|force_"
    r"|sample_sigmas|(ocr_)?guider|.*_layers$"
)
"""Arguments of a pipeline that are no model, and so have no dtype; one with a default value is none either."""

_EIGHT = re.compile(r"fp8|float8|f8|e[45]m[23]", re.IGNORECASE)


@lru_cache
def parsed(text: str) -> tuple[str, Mapping[str, str]]:
    """The dtype, and those of the components named apart."""
    name, _, named = call(text)
    return name, MappingProxyType({part: str(value) for part, value in named})


def plainest(text: str) -> str:
    """The shortest way to write it: one dtype is one picture, however it is written."""
    name, apart = parsed(text)
    # In float16 some families keep components out of it, unless these are named.
    kept = [f"{part}={value}" for part, value in apart.items() if value != name or name == "float16"]
    return f"{name}({', '.join(kept)})" if kept else name


def of(family: str, text: str, component: str) -> str:
    """The dtype of one component; of "" that of all others."""
    name, apart = parsed(text)
    if component in apart:
        return apart[component]
    kept = FAMILIES[family].float16_parts
    return "bfloat16" if name == "float16" and kept and component not in kept else name


def objection(model: Model, text: str) -> str:
    """Why a model cannot be rendered in a dtype; "" where it can."""
    name, apart = parsed(text)
    unknown = next((value for value in (name, *apart.values()) if value not in DTYPES), None)
    if unknown is not None:
        eight = "; weights are kept in 8 bits by `memory: fp8_weights`" if _EIGHT.match(unknown) else ""
        return f"{unknown} is unknown; possible are {', '.join(DTYPES)}{eight}"
    if apart and not FAMILIES[model.family].staged:
        return f"{model.pipeline} is called whole and does not convert between dtypes; write one: {name}"
    known = components(model.pipeline)
    stranger = next((part for part in apart if known and part not in known), None)
    if stranger is not None:
        return f"{model.pipeline} has no component {stranger}; possible are {', '.join(known)}"
    sound = FAMILIES[model.family].float16_parts
    black = next((part for part in apart if apart[part] == "float16" and sound and part not in sound), None)
    if black is not None:
        return f"{black} overflows in float16, and the picture becomes black; write bfloat16 or float32"
    if model.dtypes and name not in model.dtypes:
        possible = " or ".join(model.dtypes)
        return f"{model.name} gives broken pictures in {name}; write {possible}, or leave it out ({model.dtype})"
    return ""


def components(pipeline: str) -> list[str]:
    """The models a pipeline consists of; empty where diffusers' source does not tell."""
    arguments = signatures.pipeline_components(pipeline)
    unset = (signatures.REQUIRED, None)
    return [name for name, default in arguments.items() if default in unset and not _WITHOUT.match(name)]


def by_component(model: Model) -> dict[str, str]:
    """The dtype of each of a model's components, in its default dtype."""
    return {part: of(model.family, model.dtype, part) for part in components(model.pipeline)}
