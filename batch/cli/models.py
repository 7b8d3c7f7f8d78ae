"""What this machine has and which models are known, as text for people and as data for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base.text import gib, plural
from batch.catalogue import precision
from batch.memory.steps import excludes

if TYPE_CHECKING:
    from batch.catalogue.families import Model
    from batch.memory.profiles import Profile
    from batch.memory.steps import Step
    from batch.upkeep.doctor import Examination, Note

WIDTH = 100


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _wrapped(text: str, indent: int) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    lines = [line.replace(_SPACE, " ") for line in lines]
    return lines[:1] + [" " * indent + line for line in lines[1:]]


_SPACE = "\N{NO-BREAK SPACE}"


def _together(text: str) -> str:
    """The text as one word for :func:`_wrapped`."""
    return text.replace(" ", _SPACE)


# Models


def _where(model: Model) -> str:
    if model.random:
        return f"built from the configuration {f'in {model.folder}' if model.folder else 'in the program'}"
    return model.repo or model.folder or "ships with the program"


def _here(model: Model, here: tuple[bool, int]) -> str:
    """``here`` is whether it is whole on this machine, and how many bytes of it are."""
    complete, size = here
    if not complete:
        missing = "its folder is not there" if model.folder else "not on this machine"
        return f"a part of it, {gib(size)}" if size else missing
    return f"here, {gib(size)}" if model.repo and size else "here"


def models_text(models: Sequence[Model], here: Mapping[str, tuple[bool, int]], own_file: Path) -> str:
    """What ``models`` prints: a table; ``here`` by name, see :func:`_here`."""
    head = ("name", "native", "dtype", "steps", "guidance", "download", "on this machine")
    rows = [
        (
            model.name,
            str(model.native),
            model.dtype,
            str(model.steps),
            f"{model.guidance:g}",
            f"{model.download_gb:g} GB" if model.download_gb else "",
            _here(model, here[model.name]),
        )
        for model in models
    ]
    lines = _table([head, *rows])
    count = sum(model.own for model in models)
    own = f"The last {plural(count, 'model')} from" if count > 1 else "The last one from"
    yours = f"{own} {own_file}." if count else f"Models of your own may stand in {own_file}."
    return "\n".join([*lines, "", *_MORE, yours])


_MORE = (
    "models NAME shows one with its sizes, its licence and where it is from, models --memory the memory settings.",
    "A manifest also takes a Hub repository (id@revision) or a folder with a diffusers model, and random:NAME,",
    "which is NAME with random weights: the time and memory of the real one, without a download.",
)


def model_json(model: Model, here: tuple[bool, int]) -> dict[str, Any]:
    """One model as data."""
    return {
        "name": model.name,
        "about": model.about,
        "family": model.family,
        "from": _where(model),
        "revision": model.revision or None,
        "here": here[0],
        "cached_bytes": here[1] if model.repo else None,
        "native": str(model.native),
        "sizes": [str(size) for size in model.sizes()],
        "dtype": model.dtype,
        "steps": model.steps,
        "guidance": model.guidance,
        "weights_gib": model.weights_gib,
        "pipeline": model.pipeline,
        "variant": model.variant or None,
        "dtypes": list(model.dtypes),
        "components": precision.by_component(model),
        "steps_range": list(model.steps_range) if model.steps_range else None,
        "guidance_range": list(model.guidance_range) if model.guidance_range else None,
        "scheduler": model.scheduler or None,
        "flow_shift": model.flow_shift,
        "download_gb": model.download_gb,
        "licence": model.licence or None,
        "gated": model.gated,
        "own": model.own,
    }


def model_text(model: Model, here: tuple[bool, int], schedulers: Sequence[str]) -> str:
    """What ``models NAME`` prints."""
    sizes = [str(size) for size in model.sizes()]
    facts = {
        "about": model.about,
        "from": _where(model),
        "revision": model.revision or "fixed at the first run",
        "here": _here(model, here).removeprefix("here, "),
        "download": f"about {model.download_gb:g} GB" if model.download_gb else "",
        "licence": model.licence + _terms(model) if model.licence else "",
        "pipeline": model.pipeline,
        "defaults": f"dtype {model.dtype}, {plural(model.steps, 'step')}, guidance {model.guidance:g}",
        "components": ", ".join(f"{part} {dtype}" for part, dtype in precision.by_component(model).items()),
        "made for": _made_for(model),
        "own scheduler": _scheduler(model),
        "weights": f"{model.weights_gib:g} GiB on the device, text encoder apart" if model.weights_gib else "",
        "native size": str(model.native),
        f"sizes ({len(sizes)})" if sizes else "sizes": ", ".join(sizes)
        or f"any whose sides are multiples of {model.size_step}",
        "schedulers": ", ".join(schedulers),
    }
    return "\n".join([model.name, *_facts(facts)])


def _terms(model: Model) -> str:
    return f"; accept it at https://huggingface.co/{model.repo} and log in first" if model.gated else ""


def _made_for(model: Model) -> str:
    facts = []
    if model.steps_range:
        facts.append("{} to {} steps".format(*model.steps_range))
    if model.guidance_range:
        least, most = model.guidance_range
        facts.append(f"guidance {least:g} to {most:g}" if most > 1 else "no guidance")
    if model.dtypes:
        facts.append(" or ".join(model.dtypes))
    if model.largest:
        facts.append(f"up to about {model.largest}")
    return ", ".join(facts)


def _scheduler(model: Model) -> str:
    shift = f", flow shift {model.flow_shift:g}" if model.flow_shift else ""
    return f"{model.scheduler}{shift}" if model.scheduler else ""


def _facts(facts: Mapping[str, str]) -> list[str]:
    width = max(map(len, facts)) + 4
    lines = []
    for name, text in facts.items():
        if text:
            first, *rest = _wrapped(text, width)
            lines += [f"  {name.ljust(width - 2)}{first}", *rest]
    return lines


def memory_text(profiles: Mapping[str, Profile], steps: Mapping[str, Step]) -> str:
    """What ``models --memory`` prints."""
    told = {}
    for name, step in steps.items():
        others = excludes(name)
        apart = f"; not with {', '.join(others)}" if others else ""
        whose = f"; {_ONLY[step.only]}" if step.only else ""
        told[name] = f"{step.about} (changes {step.changes}{apart}{whose})"
    named = {name: f"{profile.about}{_stands_for(profile)}" for name, profile in profiles.items()}
    return "\n".join(["profiles", *_facts(named), "", "steps, joined with +", *_facts(told)])


_ONLY = {
    "staged": "not where a pipeline is called whole",
    "guidance": "only where guidance is two images in one call: SANA, PixArt, SDXL, SD3",
    "sana": "only SANA",
}


def _stands_for(profile: Profile) -> str:
    tiles = ["its tiles"] if profile.tiles else []
    return f" ({' + '.join([*tiles, *profile.steps])})" if profile.steps else ""


def memory_json(profiles: Mapping[str, Profile], steps: Mapping[str, Step]) -> dict[str, Any]:
    """The memory settings as data."""
    return {
        "profiles": {
            name: {"about": profile.about, "steps": list(profile.steps), "tiles_by_size": profile.tiles}
            for name, profile in profiles.items()
        },
        "steps": {
            name: {
                "about": step.about,
                "changes": step.changes,
                "changes_pixels": step.changes_pixels,
                "excludes": excludes(name),
                "only": step.only or None,
            }
            for name, step in steps.items()
        },
    }


# Doctor


def doctor_json(found: Examination) -> dict[str, Any]:
    """What ``doctor --json`` prints."""
    return {**asdict(found), "device": found.device or None, "ok": bool(found.device)}


def doctor_text(found: Examination, remedies: Mapping[str, str]) -> str:
    """What ``doctor`` prints; ``remedies`` has the command that installs an extra, where one lacks something."""
    facts = {
        "python": f"{found.python}  {found.executable}",
        "system": f"{found.system}, {plural(found.cores, 'core')}",
        "memory": f"{gib(found.memory)}, {gib(found.memory_free)} free",
        "gpu": _cards(found),
        "torch": _torch(found),
        "compiling": f"not for a card: {found.no_compiler}" if found.no_compiler else "for a card (Triton)",
        "packages": ", ".join(
            _together(f"{name} {version or 'MISSING'}") for name, version in found.packages.items()
        ),
    }
    lines = [f"run_batch {found.program}", *_facts(facts), "", "  folders"]
    lines += [f"    {line}" for line in _table([_place(place) for place in found.places])]
    if found.extras:
        lines += ["", "  extras", *(f"    {line}" for line in _table(_extras(found, remedies)))]
    for note in sorted(found.notes, key=lambda note: not note.stops):
        lines += ["", *_note(note)]
    return "\n".join([*lines, "", _verdict(found)])


def _cards(found: Examination) -> str:
    if not found.cards:
        return "no NVIDIA card" + (f" (driver {found.driver})" if found.driver else "")
    cards = ", ".join(f"{card.name} {gib(card.memory)} ({gib(card.free)} free)" for card in found.cards)
    return f"{cards}, driver {found.driver}"


def _torch(found: Examination) -> str:
    torch = found.torch
    if torch.version is None:
        return "CANNOT BE LOADED"
    built = f"built for CUDA {torch.cuda}" if torch.cuda else "with MPS" if torch.mps else "CPU-only build"
    if torch.devices and not torch.cuda:
        built = "built for ROCm"
    return f"{torch.version}, {built}, sees {plural(len(torch.devices), 'GPU')}"


def _place(place: Any) -> tuple[str, str, str, str]:
    free = "cannot be read" if place.free is None else f"{gib(place.free)} free"
    used = f", {gib(place.used)} used" if place.used is not None else ""
    decided = f"set by {place.decided_by}, " if place.decided_by else ""
    return (place.what, place.path, f"{free}{used}", f"{decided}moved by {place.moved_by}")


def _extras(found: Examination, remedies: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (
            extra,
            f"missing; {remedies[extra]}"
            if extra in remedies
            else ", ".join(f"{name} {version}" for name, version in packages.items()) or "nothing to install",
        )
        for extra, packages in found.extras.items()
    ]


def _note(note: Note) -> list[str]:
    first, *rest = _wrapped(f"{'PROBLEM' if note.stops else 'note'}: {note.text}", 2)
    return [first, *rest, *([f"    {note.remedy}"] if note.remedy else [])]


def _verdict(found: Examination) -> str:
    problems = sum(note.stops for note in found.notes)
    if problems:
        return f"NOT READY: {plural(problems, 'problem')} to put right first"
    how = {"cuda": "on the GPU", "mps": "on the GPU of this Mac", "cpu": "on the CPU, which is slow"}[found.device]
    return f"ready to render {how}"
