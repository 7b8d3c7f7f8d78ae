"""What a picture is: the fields of a task that decide it, hashed.

Every field of :class:`~batch.records.Task` is declared here. A field added later gets a default that
means "as before" and is empty, and empty values are left out of the canonical form, so old ids stay.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from enum import Enum
from typing import Any

from batch.records import Call, Lora, Task

IDENTITY_VERSION = 1


class Kind(Enum):
    """Why a field is, or is not, part of an id."""

    IDENTITY = "identity"
    """What the picture is."""
    MEMORY = "memory"
    """Identity too, but left out of ``picture_id``, on which settings are compared."""
    NUMERICS = "numerics"
    """Moves low bits only; pinned per run."""
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
    "extra": Kind.IDENTITY,
    "pixel_steps": Kind.MEMORY,
    "memory": Kind.PROVENANCE,
    "memory_steps": Kind.PROVENANCE,
    "format": Kind.IDENTITY,
    "format_options": Kind.IDENTITY,
    "style": Kind.PROVENANCE,
    "name": Kind.PROVENANCE,
    "source": Kind.PROVENANCE,
}


def canonical(task: Task, kinds: frozenset[Kind]) -> str:
    """The canonical JSON of a task's fields of the given kinds."""
    data: dict[str, Any] = {"v": IDENTITY_VERSION}
    for item in fields(task):
        value = getattr(task, item.name)
        if FIELD_KINDS[item.name] in kinds and value not in (None, "", ()):
            data[item.name] = _plain(value)
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Call):
        return [value.name, _plain(value.arguments)]
    if isinstance(value, Lora):
        return [value.sha256, float(value.scale)]  # by content: moving the file changes nothing
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _hash(text: str) -> str:
    # A lone surrogate cannot come from a UTF-8 manifest, but may come from a file name.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def identify(task: Task) -> Task:
    """The task with its ``id`` and ``picture_id``, 16 hex digits each."""
    return replace(
        task,
        id=_hash(canonical(task, frozenset({Kind.IDENTITY, Kind.MEMORY}))),
        picture_id=_hash(canonical(task, frozenset({Kind.IDENTITY}))),
    )
