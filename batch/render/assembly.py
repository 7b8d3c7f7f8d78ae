"""Pipelines put together from components that are there already."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import diffusers
from diffusers import DiffusionPipeline

from batch.catalogue import signatures

if TYPE_CHECKING:
    from batch.render.untyped import Keywords


def kind_of(name: str) -> Any:
    """A pipeline class by its name: diffusers', or our own of diffusers' blocks."""
    if name not in signatures.of_blocks():
        return getattr(diffusers, name)
    # What these import takes a second, which no other model shall wait for.
    from batch.render.modular import anima, flux3

    return next(getattr(place, name) for place in (anima, flux3) if hasattr(place, name))


def assembled(kind: Any, given: Keywords) -> DiffusionPipeline:
    """The pipeline with what its class takes of these components and settings."""
    takes = inspect.signature(kind.__init__).parameters
    optional = dict.fromkeys(kind._optional_components)
    made: DiffusionPipeline = kind(**{name: value for name, value in (optional | given).items() if name in takes})
    return made
