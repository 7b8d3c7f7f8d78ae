"""What a picture is: the fields of a task that decide it, hashed.

Every field of :class:`~batch.records.tasks.Task` is declared here. A field added later gets a default that
means "as before" and is empty, and empty values are left out of the canonical form, so old ids stay.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from enum import Enum
from functools import lru_cache

from batch.records.tasks import BY_CONTENT, Lora, Task, Vae
from batch.records.values import Call

IDENTITY_VERSION = 1


class Kind(Enum):
    """Why a field is, or is not, part of an id."""

    IDENTITY = "identity"
    """What the picture is."""
    MEMORY = "memory"
    """Identity too, but left out of ``picture_id``, on which settings are compared."""
    MEASURE = "measure"
    """Part of the id of a measurement, which compares settings; elsewhere provenance."""
    PROVENANCE = "provenance"
    """Who made it where, and what it is called."""


FIELD_KINDS: dict[str, Kind] = {
    "id": Kind.PROVENANCE,
    "picture_id": Kind.PROVENANCE,
    "model": Kind.IDENTITY,
    "revision": Kind.IDENTITY,
    "dtype": Kind.IDENTITY,
    "prompt": Kind.IDENTITY,
    "negative_prompt": Kind.IDENTITY,
    "seed": Kind.IDENTITY,
    "width": Kind.IDENTITY,
    "height": Kind.IDENTITY,
    "rendered_width": Kind.IDENTITY,
    "rendered_height": Kind.IDENTITY,
    "steps": Kind.IDENTITY,
    "guidance": Kind.IDENTITY,
    "scheduler": Kind.IDENTITY,
    "loras": Kind.IDENTITY,
    "vae": Kind.IDENTITY,
    "extra": Kind.IDENTITY,
    "long_prompts": Kind.IDENTITY,
    "prompt_syntax": Kind.IDENTITY,
    "pixel_steps": Kind.MEMORY,
    "memory": Kind.MEASURE,
    "memory_steps": Kind.MEASURE,
    "format": Kind.IDENTITY,
    "format_options": Kind.IDENTITY,
    "prompt_template": Kind.PROVENANCE,
    "style": Kind.PROVENANCE,
    "name": Kind.PROVENANCE,
    "source": Kind.PROVENANCE,
    "repeat": Kind.MEASURE,
    "warmup": Kind.MEASURE,
}


IDENTITY = frozenset({Kind.IDENTITY, Kind.MEMORY})
MEASUREMENT = IDENTITY | {Kind.MEASURE}
PICTURE = frozenset({Kind.IDENTITY})
_VARYING = ("negative_prompt", "prompt", "seed")
"""What differs inside a grid most often, in the order of the canonical form."""


class Ids:
    """Ids of tasks that differ in negative prompt, prompt and seed only: the rest is written out once."""

    def __init__(self, task: Task) -> None:
        self._full = _around(task, IDENTITY if task.repeat is None else MEASUREMENT)
        self._picture = _around(task, PICTURE)

    def of(self, negative_prompt: str, prompt: str, seed: int) -> tuple[str, str]:
        """``id`` and ``picture_id``, 16 hex digits each."""
        varying = (_text(negative_prompt), _text(prompt), str(seed))
        full = _hash(_filled(self._full, varying))
        if self._full == self._picture:
            return full, full
        return full, _hash(_filled(self._picture, varying))


def identify(task: Task) -> Task:
    """The task with its ``id`` and ``picture_id``."""
    full, picture = Ids(task).of(task.negative_prompt, task.prompt, task.seed)
    return replace(task, id=full, picture_id=picture)


def _around(task: Task, kinds: frozenset[Kind]) -> tuple[str, ...]:
    """What stands before, between and after the varying fields."""
    parts: list[list[str]] = [[]]
    nameless = {"model"} if task.revision.startswith(BY_CONTENT) else set()
    for name in sorted([*(item.name for item in fields(task)), "v"]):
        if name in _VARYING:
            parts.append([])
            continue
        value = IDENTITY_VERSION if name == "v" else "" if name in nameless else getattr(task, name)
        if name == "v" or (FIELD_KINDS[name] in kinds and value not in (None, "", ())):
            parts[-1].append(f'"{name}":{_json(_plain(value))}')
    return tuple(",".join(part) for part in parts)


def _filled(around: tuple[str, ...], varying: tuple[str, str, str]) -> str:
    parts = [around[0]]
    for name, text, after in zip(_VARYING, varying, around[1:], strict=True):
        parts += [f'"{name}":{text}' if text != '""' else "", after]
    return "{" + ",".join(filter(None, parts)) + "}"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@lru_cache(maxsize=4096)
def _text(text: str) -> str:
    return _json(text)


def _plain(value: object) -> object:
    if isinstance(value, Call):
        return [value.name, _plain(value.arguments)]
    if isinstance(value, Lora):
        # By content: moving the file changes nothing. Where it is not known by name, so that two LoRAs stay two.
        content = value.sha256 if value.sha256 is not None else f"not known: {value.path}"
        return [content, float(value.scale)]
    if isinstance(value, Vae):
        return value.sha256 if value.sha256 is not None else f"not known: {value.path}"
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _hash(text: str) -> str:
    # A lone surrogate cannot come from a UTF-8 manifest, but may come from a file name.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
