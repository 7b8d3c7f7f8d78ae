"""What this machine has, and what keeps it from rendering.

Looks at each thing by itself and goes on where one is missing or broken: torch is asked in a child process,
the driver through NVML, the packages through their metadata. Prints nothing.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

from batch import __version__, hub
from batch.base import machine
from batch.render import probe
from batch.upkeep import requirements, storage
from batch.upkeep.examination import Card, Examination, Note, Torch

PROBE_SECONDS = 180
"""The first import of torch and diffusers from a cold, slow disk takes minutes."""


def examine() -> Examination:
    """Look at the machine. Takes as long as importing torch and diffusers."""
    import psutil

    needed, extras = requirements.required()
    driver, cards = _nvidia()
    torch = _torch()
    places = storage.places()
    memory = psutil.virtual_memory()
    wrong = [*requirements.notes(needed), *torch_notes(torch, cards), *storage.notes(places)]
    return Examination(
        program=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        memory=memory.total,
        memory_free=memory.available,
        driver=driver,
        cards=cards,
        torch=torch,
        no_compiler=machine.no_compiler(),
        packages=requirements.versions(needed),
        extras={extra: requirements.versions(items) for extra, items in sorted(extras.items())},
        places=places,
        notes=(*wrong, *_switch_notes()),
    )


def _nvidia() -> tuple[str, tuple[Card, ...]]:
    """The driver's version and its cards; empty without an NVIDIA driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no package, no driver, or one that does not answer: no card to show
        return "", ()
    driver, cards = "", []
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            cards.append(Card(name=str(pynvml.nvmlDeviceGetName(handle)), memory=memory.total, free=memory.free))
    except pynvml.NVMLError:  # a card that has fallen off the bus: what was found stands
        pass
    return driver, tuple(cards)


def _torch() -> Torch:
    # -P: the script's own folder must not be searched for modules.
    command = [sys.executable, "-P", "-W", "ignore", probe.__file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Torch(stage="torch", error=f"it did not load within {PROBE_SECONDS} seconds")
    try:
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        return Torch(**{**facts, "devices": tuple(facts["devices"])})
    except (ValueError, IndexError, TypeError):
        said = done.stderr.strip().splitlines()
        why = f": {said[-1]}" if said else ""
        return Torch(stage="torch", error=f"loading it ended the process with code {done.returncode}{why}")


def torch_notes(torch: Torch, cards: tuple[Card, ...]) -> list[Note]:
    """What is wrong between torch, the driver and the cards."""
    if torch.stage == "torch":
        remedy = machine.install_cuda_torch() if cards else machine.install(["torch"])
        return [Note(text=f"torch cannot be loaded: {torch.error}", remedy=remedy, stops=True)]
    notes = []
    if torch.stage == "diffusers":
        text = f"diffusers cannot be loaded: {torch.error}"
        notes.append(
            Note(text=text, remedy=machine.install(["--upgrade", "diffusers", "transformers"]), stops=True)
        )
    if cards and not torch.cuda:
        text = (
            f"torch {torch.version} is a CPU-only build, and this machine has an NVIDIA card; "
            "a run ends at once unless it is told --devices cpu"
        )
        notes.append(Note(text=text, remedy=machine.install_cuda_torch(), stops=True))
    elif torch.stage == "cuda":
        text = f"torch {torch.version} cannot use the card: {torch.error}"
        notes.append(
            Note(
                text=text,
                remedy="install the newest driver from nvidia.com, or render with --devices cpu",
                stops=True,
            )
            if cards
            else Note(text=text)
        )
    elif len(torch.devices) != len(cards) and cards:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f"CUDA_VISIBLE_DEVICES is {visible!r}" if visible is not None else "the driver hides the others"
        notes.append(Note(text=f"torch sees {len(torch.devices)} of {len(cards)} cards: {why}"))
    return notes


def _switch_notes() -> list[Note]:
    notes = [Note(text=text) for text in hub.old_switches()]
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        notes.append(Note(text="HF_HUB_OFFLINE is set: only models that are on this machine can be rendered"))
    return notes
