"""What this machine has for rendering, as far as it can be told without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass

CUDA_WHEELS = "https://download.pytorch.org/whl/cu130"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides about batches and compiling."""

    card: bool
    """An NVIDIA card will render."""
    memory: int | None = None
    """Of the smallest card, in bytes."""
    no_compiler: str = ""
    """Why models cannot be compiled for the card; empty where they can."""


def nvidia_cards() -> int:
    """How many NVIDIA cards the driver shows, whatever torch was built for."""
    return len(_memories())


def look(devices: str | None) -> Machine:
    """The machine as it would render on the devices asked for (``cpu``, ``mps``, an index; None is the first)."""
    memories = _memories() if devices not in ("cpu", "mps") else []
    return Machine(card=bool(memories), memory=min(memories, default=None), no_compiler=no_compiler())


def _memories() -> list[int]:
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles]
    except pynvml.NVMLError:
        return []


def no_compiler() -> str:
    """Why Triton cannot compile for a card here; empty where it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    # Triton compiles a small launcher in C for every kernel; on Windows its package brings a compiler along.
    if os.name != "nt" and not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))):
        return "there is no C compiler (gcc or clang), which Triton needs"
    return ""


def install(packages: Iterable[str]) -> str:
    """The command that installs packages into this Python."""
    return f"{_python()} -m pip install " + " ".join(f'"{item}"' for item in packages)


def install_cuda_torch() -> str:
    """The command that replaces a CPU-only torch."""
    return f"{_python()} -m pip install --force-reinstall torch --index-url {CUDA_WHEELS}"


def _python() -> str:
    return f'"{sys.executable}"' if " " in sys.executable else sys.executable
