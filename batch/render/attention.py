"""Which way of attention a text encoder is loaded with.

Gemma-2 and others bound their attention scores: ``tanh(score / cap) * cap``. PyTorch's fused attention (SDPA) has
no place for that. transformers before 5.22 took it all the same and left the bound out in silence, so that texts,
and with them pictures, depended on the library's version.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PreTrainedConfig

EXACT = "eager"
"""transformers' name for attention written out, which does all that a model asks for."""


def implementation(config: PreTrainedConfig) -> str | None:
    """The one that a model must be loaded with; None where transformers may choose."""
    return EXACT if _is_capped(config.to_dict()) else None


def _is_capped(config: Mapping[str, object]) -> bool:
    """Also within: a model of pictures and texts has a configuration for each (``text_config``)."""
    # Asked of the object and not of the file, which leaves out what is the class's default: 50 for Gemma-2.
    if config.get("attn_logit_softcapping") is not None:
        return True
    return any(_is_capped(part) for part in config.values() if isinstance(part, Mapping))
