"""What this machine has for rendering, as far as it can be told without torch."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from batch.base import devices as names
from batch.base import nvml


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What decides about batches and compiling."""

    card: bool
    """An NVIDIA card will render."""
    memory: int | None = None
    """Of the smallest card that will render, in bytes."""
    no_compiler: str = ""
    """Why models cannot be compiled for the card; empty where they can."""
    device: str = ""
    """What receipts call it; "" where that cannot be told, as of cards of several kinds."""


def look(devices: str | None) -> Hardware:
    """What there is to render on the devices asked for (see :mod:`batch.base.devices`).

    Raises :class:`~batch.base.errors.UserError` where that names none.
    """
    cards = rendering(devices)
    kinds = {card.name for card in cards}
    return Hardware(
        card=bool(cards),
        memory=min((card.memory for card in cards), default=None),
        no_compiler=no_compiler(),
        device="" if len(kinds) > 1 else next(iter(kinds), processor()),
    )


def kind(devices: str | None) -> str:
    """The kind of device that renders on those asked for, as torch calls it: cuda, mps or cpu."""
    named = names.listed(devices)
    if named:
        return named[0] if named[0] in ("cpu", "mps") else "cuda"
    if seen():
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def each(devices: str | None) -> tuple[str, ...]:
    """What receipts call each device that will render, in order; "" where that cannot be told."""
    if named := names.listed(devices):
        cards = seen()
        return tuple(_called(name, cards) for name in named)
    return tuple(card.name for card in rendering(devices)) or (processor(),)


def _called(name: str, cards: Sequence[nvml.Card]) -> str:
    if name in ("cpu", "mps"):
        return processor()
    return card.name if (card := _find(name, cards)) is not None else ""


def absent(devices: str | None) -> tuple[str, ...]:
    """What is named and not to be seen here, in order. Cards that are not NVIDIA's are known to torch alone."""
    cards, no_mac = seen(), sys.platform != "darwin"
    if not cards and Path("/dev/kfd").exists():  # AMD's
        return ()
    named = (name for name in names.listed(devices) if name != "cpu")
    return tuple(name for name in named if (no_mac if name == "mps" else _find(name, cards) is None))


def rendering(devices: str | None) -> tuple[nvml.Card, ...]:
    """The cards that will render, in order. What is named and not there is left out: torch has the last word."""
    cards, named = seen(), names.listed(devices)
    if named:
        found = (_find(name, cards) for name in named)
        return tuple(card for card in found if card is not None)
    alike = like_first(cards)
    return alike[:1] if names.is_first(devices) else alike


def seen() -> tuple[nvml.Card, ...]:
    """The cards that torch numbers from 0, in its order, as far as that can be told without it.

    CUDA orders cards by speed unless ``CUDA_DEVICE_ORDER`` says otherwise, and shows of them what
    ``CUDA_VISIBLE_DEVICES`` names. A process sees one MIG instance and nothing beside it; where the variable names
    several, these are all here, for a process each.
    """
    cards = nvml.cards(fastest_first=os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID")
    visible = os.environ.get(nvml.VISIBLE)
    shown = cards if visible is None else _visible(cards, visible)
    first = next((card.instances[0] for card in shown if card.instances), None)
    return (first,) if first else tuple(card for card in shown if card.instances is None)


def _visible(cards: Sequence[nvml.Card], variable: str) -> tuple[nvml.Card, ...]:
    """What the variable shows: read up to a word that names nothing; with a card named twice, nothing."""
    found: dict[str, nvml.Card] = {}
    for word in map(str.strip, variable.split(",")):
        number = re.match(r"\+?(\d+)", word)
        name = f"cuda:{int(number[1])}" if number else word
        card = _find(name, cards)
        if card is None:
            break
        if name in found:
            return ()
        found[name] = card
    return tuple(found.values())


def _find(name: str, cards: Sequence[nvml.Card]) -> nvml.Card | None:
    """A card by its number among these, or by the beginning of its UUID, or an instance by that of its own."""
    if name.startswith("cuda:"):
        number = int(name.removeprefix("cuda:"))
        return cards[number] if number < len(cards) else None
    if not name.startswith((names.CARD, names.INSTANCE)):
        return None
    all_cards = nvml.cards() if name.startswith(names.INSTANCE) else cards
    every = [*cards, *(part for card in all_cards for part in card.instances or ())]
    matching = {card.uuid: card for card in every if card.uuid.startswith(name)}
    return next(iter(matching.values())) if len(matching) == 1 else None


class KindOfCard(Protocol):
    """What makes two cards alike."""

    @property
    def name(self) -> str:
        """As the driver calls it."""
        ...

    @property
    def memory(self) -> int:
        """In bytes."""
        ...


K = TypeVar("K", bound=KindOfCard)


def like_first(cards: Sequence[K]) -> tuple[K, ...]:
    """The cards of the first one's kind. Two of a kind may differ a little in what the driver keeps for itself."""
    return tuple(
        card
        for card in cards
        if card.name == cards[0].name and abs(card.memory - cards[0].memory) <= 0.02 * cards[0].memory
    )


def processor() -> str:
    """What receipts call the device where no card renders."""
    return platform.processor() or platform.machine()


def no_compiler() -> str:
    """Why Triton cannot compile for a card here; empty where it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    # Triton compiles a small launcher in C for every kernel; on Windows its package brings a compiler along.
    if os.name != "nt" and not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))):
        return "there is no C compiler (gcc or clang), which Triton needs"
    return ""
