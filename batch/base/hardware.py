"""What this machine has for rendering, as far as it can be told without torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Sequence
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
    device: str = ""
    """What receipts call it; "" where that cannot be told."""


def look(devices: str | None) -> Hardware:
    """What there is to render on the devices asked for (``cpu``, ``mps``, an index; None is the first)."""
    cards = nvml.cards() if devices not in ("cpu", "mps") else ()
    memories = [card.memory for card in cards]
    return Hardware(
        card=bool(cards),
        memory=min(memories, default=None),
        no_compiler=no_compiler(),
        device=_card(cards, devices) if cards else processor(),
    )


def kind(devices: str | None) -> str:
    """The kind of device that renders on those asked for, as torch calls it: cuda, mps or cpu."""
    if devices in ("cpu", "mps"):
        return devices
    if nvml.cards():
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def processor() -> str:
    """What receipts call the device where no card renders."""
    return platform.processor() or platform.machine()


def _card(cards: Sequence[nvml.Card], devices: str | None) -> str:
    """The name of the card asked for; of cards of one name it does not matter which."""
    names = [card.name for card in cards]
    number = (devices or "0").rpartition(":")[2]
    wanted = int(number) if number.isdecimal() else 0
    return names[wanted] if len(set(names)) > 1 and wanted < len(names) else names[0]


def no_compiler() -> str:
    """Why Triton cannot compile for a card here; empty where it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    # Triton compiles a small launcher in C for every kernel; on Windows its package brings a compiler along.
    if os.name != "nt" and not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))):
        return "there is no C compiler (gcc or clang), which Triton needs"
    return ""
