"""What this machine has, and what keeps it from rendering.

Looks at each thing by itself and goes on where one is missing or broken: torch is asked in a child process,
the driver through NVML, the packages through their metadata. Prints nothing.
"""

from __future__ import annotations

import os
import platform
import sys

from batch import __version__
from batch.base import hardware, install, nvml, orphans
from batch.base.processes import ChildProcess
from batch.hub.cache import offline_by, old_switches
from batch.upkeep import requirements, storage
from batch.upkeep.examination import Examination, Note, Torch

PROBE_SECONDS = 180
"""The first import of torch and diffusers from a cold, slow disk takes minutes."""


def examine() -> Examination:
    """Look at the machine. Takes as long as importing torch and diffusers."""
    import psutil

    needed, extras = requirements.required()
    cards = nvml.cards()
    torch = _torch()
    places = storage.places()
    memory = psutil.virtual_memory()
    alone = tuple(orphans.every())
    wrong = [*requirements.notes(needed), *torch_notes(torch, cards), *storage.notes(places)]
    return Examination(
        program=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=os.cpu_count() or 1,
        memory=memory.total,
        memory_free=memory.available,
        driver=nvml.driver(),
        cards=cards,
        torch=torch,
        no_compiler=hardware.no_compiler(),
        packages=requirements.versions(needed),
        extras={extra: requirements.versions(items) for extra, items in sorted(extras.items())},
        for_models=requirements.for_models(),
        places=places,
        orphans=alone,
        notes=(*wrong, *orphan_notes(alone), *switch_notes()),
    )


def _torch() -> Torch:
    with ChildProcess("batch.render.probe", None) as child:
        try:
            facts = child.answer(PROBE_SECONDS)
        except TimeoutError:
            return Torch(stage="torch", error=f"it did not load within {PROBE_SECONDS} seconds")
        if facts is not None:
            return Torch(**{**facts, "devices": tuple(facts["devices"])})
        code, said = child.code(), child.last_words()
    why = f": {said}" if said else ""
    return Torch(stage="torch", error=f"loading it ended the process with code {code}{why}")


def torch_notes(torch: Torch, cards: tuple[nvml.Card, ...]) -> list[Note]:
    """What is wrong between torch, the driver and the cards."""
    if torch.stage == "torch":
        remedy = install.torch_for_cuda() if cards else install.packages(["torch"])
        return [Note(text=f"torch cannot be loaded: {torch.error}", remedy=remedy, stops=True)]
    notes = []
    if torch.stage == "diffusers":
        text = f"diffusers cannot be loaded: {torch.error}"
        notes.append(
            Note(text=text, remedy=install.packages(["--upgrade", "diffusers", "transformers"]), stops=True)
        )
    if cards and not torch.cuda:
        text = (
            f"torch {torch.version} is a CPU-only build, and this machine has an NVIDIA card; "
            "a run ends at once unless it is told --devices cpu"
        )
        notes.append(Note(text=text, remedy=install.torch_for_cuda(), stops=True))
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
        if visible is None and any(card.instances is not None for card in cards):
            why = "one is in MIG mode, and torch shows one of its instances alone; see --devices MIG-…"
        notes.append(Note(text=f"torch sees {len(torch.devices)} of {len(cards)} cards: {why}"))
    return notes


def orphan_notes(alone: tuple[orphans.Orphan, ...]) -> list[Note]:
    """Processes of this program that nobody waits for."""
    notes = []
    for orphan in alone:
        remedy, whose = f"end it: kill -9 {orphan.pid}", "a process of a run or download"
        if orphan.folder:
            # Named by a process, which may be another user's where root asks.
            folder = orphan.folder if orphan.folder.isprintable() else ascii(orphan.folder)
            remedy, whose = f"the next run into {folder} ends it, or kill -9 {orphan.pid}", f"a worker of {folder}"
        notes.append(Note(text=f"{whose} is still there without its parent: {orphan}", remedy=remedy))
    return notes


def switch_notes() -> list[Note]:
    """Environment variables that do something other than one may think."""
    notes = [Note(text=text) for text in old_switches()]
    if switch := offline_by():
        notes.append(Note(text=f"{switch} is set: only models that are on this machine can be rendered"))
    return notes
