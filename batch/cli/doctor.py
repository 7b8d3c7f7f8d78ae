"""``doctor``: what this machine has and lacks. The examination is :mod:`batch.upkeep.doctor`, its text is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from batch.base import errors, install
from batch.base.text import gib, plural
from batch.cli.options import cache_dir_option, json_option
from batch.cli.terminal import print_json, show

if TYPE_CHECKING:
    from batch.base.tables import TextTable
    from batch.upkeep.examination import Examination, Storage


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
        show(*doctor_parts(found, remedies))
    return errors.EXIT_OK if found.device else errors.EXIT_FAILED


def doctor_parts(found: Examination, remedies: Mapping[str, str]) -> Iterator[str | TextTable]:
    """What ``doctor`` prints; ``remedies`` has the command that installs an extra, where one lacks something."""
    from batch.base.tables import facts

    yield f"run_batch {found.program}"
    yield facts(_facts(found))
    yield "\n  folders"
    yield facts({place.what: _folder(place) for place in found.places}, indent=4)
    if found.extras:
        yield "\n  extras"
        yield facts(dict(_extras(found, remedies)), indent=4)
    yield "\n  for some models"
    for package, found_for in found.for_models.items():
        here = found_for.version or f"missing; {install.packages([package])}"
        yield f"    {package} {here} ({', '.join(found_for.models)})"
    for note in sorted(found.notes, key=lambda note: not note.stops):
        yield f"\n{'PROBLEM' if note.stops else 'note'}: {note.text}"
        if note.remedy:
            yield f"    {note.remedy}"
    yield f"\n{_verdict(found)}"


def _folder(place: Storage) -> str:
    free = "cannot be read" if place.free is None else f"{gib(place.free)} free"
    used = f", {gib(place.used)} used" if place.used is not None else ""
    decided = f"set by {place.decided_by}, " if place.decided_by else ""
    return f"{place.path}: {free}{used}; {decided}moved by {place.moved_by}"


def _extras(found: Examination, remedies: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for extra, packages in found.extras.items():
        here = ", ".join(f"{name} {version}" for name, version in packages.items()) or "nothing to install"
        yield extra, f"missing; {remedies[extra]}" if extra in remedies else here


def _verdict(found: Examination) -> str:
    if problems := sum(note.stops for note in found.notes):
        return f"NOT READY: {plural(problems, 'problem')} to put right first"
    how = {"cuda": "on the GPU", "mps": "on the GPU of this Mac", "cpu": "on the CPU, which is slow"}
    return f"ready to render {how[found.device]}"


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
        "packages": ", ".join(f"{name} {version or 'MISSING'}" for name, version in found.packages.items()),
    }
