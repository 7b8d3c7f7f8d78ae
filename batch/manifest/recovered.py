"""A picture that was rendered, as a manifest says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One picture as axes of a manifest."""

    axes: Mapping[str, object]
    output: Mapping[str, object]
    resize: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)
    """How its texts are read, where it is not as usual: ``long_prompts`` and ``prompt_syntax`` of a manifest."""
    notes: tuple[str, ...] = ()
    """What could not be carried over."""
    vae: str = ""
    """The file of its autoencoder, as another program calls it; "" where it is the model's own."""
    model_hash: str = ""
    """The SHA-256 of its checkpoint, or the first digits of it, where its text says them."""
