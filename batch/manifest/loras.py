"""The axis ``lora``: files and Hub ids with their strengths, as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable

from batch.manifest.limits import LORAS
from batch.manifest.scalars import core_scalar
from batch.manifest.several import several
from batch.manifest.values import finite, shown, word

_SCALE = re.compile(r"\(\s*(?:scale|strength)\s*=([^()]+)\)$")
_LORA_KEYS = ("file", "repo", "weight", "revision", "strength", "scale")


def lora(value: object, there: Callable[[str], bool] = lambda _: False) -> tuple[tuple[str, float], ...]:
    """``none``, a file or a Hub id, ``file.safetensors(scale=0.8)``, several joined with ``+``; or as a mapping.

    ``there`` says whether a file is there: then it is one, though its name holds a ``+``.
    ``{file: a.safetensors, strength: 0.8}``, ``{repo: owner/name, weight: a.safetensors, revision: main}``.
    """
    if value is None or value == "none":
        return ()
    if isinstance(value, dict):
        return (_lora_mapping(value),)
    parts = several(word(value), " + ", lambda text: there(_SCALE.sub("", text).rstrip()))
    if len(parts) > LORAS:
        raise ValueError(f"{shown(value)} names {len(parts):,} LoRAs; at most {LORAS} are possible")
    result = []
    for part in parts:
        match = _SCALE.search(part)
        scale = match[1].strip() if match else "1"
        strength = finite(core_scalar(scale))
        if strength is None:
            raise ValueError(f"{shown(scale)} is not a LoRA scale; a number such as 0.8 is")
        path = part[: match.start() if match else None].rstrip()
        if not path:
            raise ValueError(f"{shown(value)} names a LoRA that is empty; write a file or a Hub id")
        result.append((path, strength))
    return tuple(result)


def _lora_mapping(value: dict[str, object]) -> tuple[str, float]:
    unknown = next((key for key in value if key not in _LORA_KEYS), None)
    if unknown is not None:
        raise ValueError(f"{unknown} is unknown in a LoRA; possible are {', '.join(_LORA_KEYS)}")
    texts = {key: word(value[key]) for key in ("file", "repo", "weight", "revision") if key in value}
    if ("file" in texts) == ("repo" in texts):
        raise ValueError("a LoRA is one of {file: a.safetensors} and {repo: owner/name, weight: a.safetensors}")
    if "file" in texts and len(texts) > 1:
        raise ValueError("weight and revision belong to a repo; a file has neither")
    if "strength" in value and "scale" in value:
        raise ValueError("strength and scale mean the same; keep one")
    named = texts.get("file") or "/".join(filter(None, (texts["repo"], texts.get("weight"))))
    at = f"@{texts['revision']}" if "revision" in texts else ""
    written = value.get("strength", value.get("scale", 1.0))
    strength = finite(written)
    if strength is None:
        raise ValueError(f"{shown(written)} is not a number")
    return named + at, strength
