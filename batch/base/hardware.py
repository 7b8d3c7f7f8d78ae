"""What this machine has for rendering, as far as it can be told without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass

from batch.base import nvml


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What decides about batches and compiling."""

    card: bool
    """An NVIDIA card will render."""
    memory: int | None = None
    """Of the smallest card, in bytes."""
    no_compiler: str = ""
    """Why models cannot be compiled for the card; empty where they can."""


def look(devices: str | None) -> Hardware:
    """What there is to render on the devices asked for (``cpu``, ``mps``, an index; None is the first)."""
    memories = [card.memory for card in nvml.cards()] if devices not in ("cpu", "mps") else []
    return Hardware(card=bool(memories), memory=min(memories, default=None), no_compiler=no_compiler())


def no_compiler() -> str:
    """Why Triton cannot compile for a card here; empty where it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    # Triton compiles a small launcher in C for every kernel; on Windows its package brings a compiler along.
    if os.name != "nt" and not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))):
        return "there is no C compiler (gcc or clang), which Triton needs"
    return ""
