"""``doctor``: what this machine has and lacks. The examination is :mod:`batch.upkeep.doctor`, its text is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from batch.base import errors, install
from batch.base.text import gib, plural
from batch.cli import layout
from batch.cli.options import cache_dir_option, json_option
from batch.cli.terminal import print_json, show

if TYPE_CHECKING:
    from batch.upkeep.examination import Examination


@click.command(short_help="Say what this machine has and lacks.")
@cache_dir_option
@json_option
def doctor(*, as_json: bool) -> int:
    """Look at this machine: Python, torch, GPUs, memory, disk, packages, and what is missing.

    Ends with 0 when images can be rendered here, and with 1 when something stops it.
    """
    from batch.upkeep import doctor as examination
    from batch.upkeep import requirements

    found = examination.examine()
    if as_json:
        print_json({**asdict(found), "device": found.device or None, "ok": bool(found.device)})
    else:
        _, extras = requirements.required()
        lacking = [extra for extra, packages in found.extras.items() if None in packages.values()]
        remedies = {extra: requirements.remedy(extras[extra]) for extra in lacking}
        show(doctor_text(found, remedies))
    return errors.EXIT_OK if found.device else errors.EXIT_FAILED


def doctor_text(found: Examination, remedies: Mapping[str, str]) -> str:
    """What ``doctor`` prints; ``remedies`` has the command that installs an extra, where one lacks something."""
    folders = []
    for place in found.places:
        free = "cannot be read" if place.free is None else f"{gib(place.free)} free"
        used = f", {gib(place.used)} used" if place.used is not None else ""
        decided = f"set by {place.decided_by}, " if place.decided_by else ""
        folders.append((place.what, place.path, f"{free}{used}", f"{decided}moved by {place.moved_by}"))
    lines = [f"run_batch {found.program}", *layout.facts(_facts(found)), "", "  folders"]
    lines += [f"    {line}" for line in layout.table(folders)]
    if found.extras:
        extras = []
        for extra, packages in found.extras.items():
            here = ", ".join(f"{name} {version}" for name, version in packages.items()) or "nothing to install"
            extras.append((extra, f"missing; {remedies[extra]}" if extra in remedies else here))
        lines += ["", "  extras", *(f"    {line}" for line in layout.table(extras))]
    lines += ["", "  for some models"]
    for package, found_for in found.for_models.items():
        here = found_for.version or f"missing; {install.packages([package])}"
        lines += layout.wrapped(f"    {package} {here} ({', '.join(found_for.models)})", 6)
    for note in sorted(found.notes, key=lambda note: not note.stops):
        lines += ["", *layout.wrapped(f"{'PROBLEM' if note.stops else 'note'}: {note.text}", 2)]
        lines += [f"    {note.remedy}"] if note.remedy else []
    if problems := sum(note.stops for note in found.notes):
        verdict = f"NOT READY: {plural(problems, 'problem')} to put right first"
    else:
        how = {"cuda": "on the GPU", "mps": "on the GPU of this Mac", "cpu": "on the CPU, which is slow"}
        verdict = f"ready to render {how[found.device]}"
    return "\n".join([*lines, "", verdict])


def _facts(found: Examination) -> dict[str, str]:
    cards = ", ".join(f"{card.name} {gib(card.memory)} ({gib(card.free)} free)" for card in found.cards)
    driver = f" (driver {found.driver})" if found.driver else ""
    torch = found.torch
    built = f"built for CUDA {torch.cuda}" if torch.cuda else "with MPS" if torch.mps else "CPU-only build"
    if torch.devices and not torch.cuda:
        built = "built for ROCm"
    sees = f"{torch.version}, {built}, sees {plural(len(torch.devices), 'GPU')}"
    return {
        "python": f"{found.python}  {found.executable}",
        "system": f"{found.system}, {plural(found.cores, 'core')}",
        "memory": f"{gib(found.memory)}, {gib(found.memory_free)} free",
        "gpu": f"{cards}, driver {found.driver}" if cards else f"no NVIDIA card{driver}",
        "torch": "CANNOT BE LOADED" if torch.version is None else sees,
        "compiling": f"not for a card: {found.no_compiler}" if found.no_compiler else "for a card (Triton)",
        "packages": ", ".join(
            layout.together(f"{name} {version or 'MISSING'}") for name, version in found.packages.items()
        ),
    }
