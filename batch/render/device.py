"""Which devices render, and what they are."""

from __future__ import annotations

import gc
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version

import torch

from batch.base import devices as names
from batch.base import hardware, install, nvml
from batch.base.errors import UserError
from batch.base.text import gib, plural
from batch.records.receipts import Machine
from batch.render.backend import Offered


def offer(asked: str | None) -> Offered:
    """The devices asked for: ``cuda:0``, ``mps``, ``cpu``, or ``cuda:MIG-…`` (see :func:`in_torch`).

    Raises :class:`UserError` for a device that is not there, and for a CPU-only torch on a machine with
    an NVIDIA card: rendering there would silently take a hundred times as long.
    """
    named = names.listed(asked)
    if named[:1] == ("cpu",):
        return Offered(named)
    if instances := _instances(asked, named):
        note = "" if named or names.is_first(asked) else _unlike(instances)
        in_torch(instances[0])
        return Offered(instances, note)
    if not torch.cuda.is_available() and torch.version.cuda is None and hardware.seen():
        raise UserError(
            "this machine has an NVIDIA card, but the torch installed here is a CPU-only build. Install the "
            f"right one with\n    {install.torch_for_cuda()}\n"
            "or render on the CPU with --devices cpu"
        )
    cards = _cards()
    if not named:
        return _all(cards, asked) if cards else Offered(("mps" if torch.backends.mps.is_available() else "cpu",))
    found = tuple(_find(asked, name, cards) for name in named)
    names.check_distinct(asked, found)
    return Offered(found)


def in_torch(device: str) -> str:
    """What torch calls a device in this process.

    A process sees one MIG instance at most, and no card beside it: one that is to render on ``cuda:MIG-…`` is
    shown that alone, and calls it ``cuda:0``. Raises :class:`UserError` where it is not there.
    """
    instance = names.instance_of(device)
    if not instance:
        return device
    if os.environ.get(nvml.VISIBLE) != instance:
        if torch.cuda.is_initialized():
            raise UserError(f"{device}: this process renders on something else already, and sees one MIG instance")
        os.environ[nvml.VISIBLE] = instance
    if not torch.cuda.is_available():
        raise UserError(f"--devices {instance}: torch finds no such MIG instance; nvidia-smi -L lists them")
    return "cuda:0"


@dataclass(frozen=True, slots=True)
class _Card:
    """A card as torch shows it; memory in bytes, the UUID as ``nvidia-smi -L`` prints it."""

    device: str
    name: str
    memory: int
    uuid: str


def _cards() -> tuple[_Card, ...]:
    found = []
    for number in range(torch.cuda.device_count()):
        shown = torch.cuda.get_device_properties(number)
        found.append(_Card(f"cuda:{number}", shown.name, shown.total_memory, f"{names.CARD}{shown.uuid}"))
    return tuple(found)


def _all(cards: tuple[_Card, ...], asked: str | None) -> Offered:
    """Every card of the first one's kind, or that one alone."""
    if names.is_first(asked):
        return Offered((cards[0].device,))
    alike = hardware.like_first(cards)
    notes = []
    if others := [card for card in cards if card not in alike]:
        left = ", ".join(f"{card.device} {card.name} {gib(card.memory)}" for card in others)
        first = f"{cards[0].device} {cards[0].name} {gib(cards[0].memory)}"
        numbers = ",".join(card.device.removeprefix("cuda:") for card in others)
        them = "it" if len(others) == 1 else "them"
        notes.append(f"left out: {left}, unlike {first}; --devices {numbers} renders on {them}")
    instances = sum(len(card.instances or ()) for card in nvml.cards())
    if instances > 1:
        notes.append(
            f"torch shows a process one of {plural(instances, 'MIG instance')}; name those that are to render, as "
            "nvidia-smi -L lists them: --devices MIG-…,MIG-…"
        )
    return Offered(tuple(card.device for card in alike), "; ".join(notes))


def _instances(asked: str | None, named: tuple[str, ...]) -> tuple[str, ...]:
    """The MIG instances that are named, in the list or else by CUDA_VISIBLE_DEVICES; () where none is."""
    visible = os.environ.get(nvml.VISIBLE, "")
    found = tuple(name for name in named if names.instance_of(name))
    if len(found) < len(named) and found:
        raise UserError(
            f"--devices {asked}: MIG instances and whole cards are not mixed in one run; start a run for each, in "
            "folders of their own"
        )
    if (named and not found) or not (found or visible.startswith(names.INSTANCE)):
        return ()
    shown = tuple(card.uuid for card in hardware.rendering(asked))
    if found and len(shown) != len(found):
        if nvml.cards():
            raise UserError(
                f"--devices {asked}: there is no such MIG instance, or several begin so; nvidia-smi -L lists them"
            )
        shown = found  # the driver is not asked here: torch has the last word
    names.check_distinct(asked, shown)
    return tuple(f"cuda:{uuid}" for uuid in shown)


def _unlike(instances: tuple[str, ...]) -> str:
    """Which of the instances that CUDA_VISIBLE_DEVICES names are left out."""
    others = ",".join(card.uuid for card in hardware.seen() if f"cuda:{card.uuid}" not in instances)
    return f"left out: {others}, unlike {instances[0]}; --devices {others} renders there" if others else ""


def _find(asked: str | None, name: str, cards: tuple[_Card, ...]) -> str:
    """What torch calls a device of a list."""
    if name == "mps" and torch.backends.mps.is_available():
        return name
    found = [card.device for card in cards if card.device == name or card.uuid.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"--devices {asked}: {name} is the beginning of several UUIDs: {', '.join(found)}")
    there = ", ".join([*(card.device.removeprefix("cuda:") for card in cards), "cpu"])
    visible = os.environ.get(nvml.VISIBLE)
    shown = f"; {nvml.VISIBLE} is '{visible}', and what it shows is numbered from 0" if visible is not None else ""
    raise UserError(f"--devices {asked}: there is no such device; possible are {there}{shown}")


def use(device: str) -> None:
    """Make a card the one that is meant where none is named, for this thread.

    diffusers makes the streams of group offloading so: one of another card orders nothing on this one, and blocks
    are freed while a kernel still reads them.
    """
    if device.startswith("cuda"):
        torch.cuda.set_device(device)


def give_back(device: str) -> None:
    """What torch keeps for later and nothing uses: memory of the card, and page-locked memory of the host."""
    gc.collect()
    if device.startswith("cuda") and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        # Part of the interface since torch 2.12.
        empty = getattr(torch.accelerator, "empty_host_cache", None) or torch._C._host_emptyCache
        empty()


def describe(device: str) -> Machine:
    """The machine as every receipt records it."""
    name, memory, driver, gpu = hardware.processor(), None, "", ""
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
        driver = nvml.driver()
        card = nvml.of_torch(str(properties.uuid))
        gpu = f"{names.CARD}{properties.uuid}" if card is None else nvml.uuid_of(card)
    return Machine(
        device=name,
        device_memory=memory,
        driver=driver,
        torch=str(torch.__version__),  # its own class would make whoever unpickles it import torch
        diffusers=version("diffusers"),
        host=platform.node(),
        gpu=gpu,
    )
