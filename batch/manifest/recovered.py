"""A picture that was rendered, as a manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One picture as axes of a manifest."""

    axes: Mapping[str, object]
    output: Mapping[str, object]
    resize: bool = False
    notes: tuple[str, ...] = ()
    """What could not be carried over."""
