"""Which device renders, and what it is."""

from __future__ import annotations

import gc
import platform
from importlib.metadata import version

import torch

from batch.base import hardware, install, nvml
from batch.base.errors import UserError
from batch.records.receipts import Machine
from batch.render.backend import Offered


def choose(asked: str | None) -> str:
    """The torch device to use: ``cuda:0``, ``mps`` or ``cpu``.

    Raises :class:`UserError` for a device that is not there, and for a CPU-only torch on a machine with
    an NVIDIA card: rendering there would silently take a hundred times as long.
    """
    if asked == "cpu":
        return "cpu"
    if not torch.cuda.is_available() and torch.version.cuda is None and nvml.cards():
        raise UserError(
            "this machine has an NVIDIA card, but the torch installed here is a CPU-only build. Install the "
            f"right one with\n    {install.torch_for_cuda()}\n"
            "or render on the CPU with --devices cpu"
        )
    if asked is None:
        if torch.cuda.is_available():
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if asked == "mps" and torch.backends.mps.is_available():
        return "mps"
    index = asked.removeprefix("cuda:")
    if index.isdigit() and int(index) < torch.cuda.device_count():
        return f"cuda:{index}"
    there = [f"{number}" for number in range(torch.cuda.device_count())] + ["cpu"]
    raise UserError(f"--devices {asked}: there is no such device; possible are {', '.join(there)}")


def offer(asked: str | None) -> Offered:
    """The devices asked for."""
    return Offered((choose(asked),))


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
    name, memory, driver = hardware.processor(), None, ""
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
        driver = nvml.driver()
    return Machine(
        device=name,
        device_memory=memory,
        driver=driver,
        torch=str(torch.__version__),  # its own class would make whoever unpickles it import torch
        diffusers=version("diffusers"),
        host=platform.node(),
    )
