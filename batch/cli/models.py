"""``models``: the models that are known, with what is on this machine, and the memory settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import gib, plural
from batch.cli.options import cache_dir_option, json_option
from batch.cli.single_files import single_file
from batch.cli.terminal import print_json, show, waiting

if TYPE_CHECKING:
    from batch.base.tables import TextTable
    from batch.catalogue.model import Model
    from batch.memory.profiles import Profile
    from batch.memory.steps import Step


@click.command(short_help="List models and memory settings.")
@click.argument("name", required=False)
@click.option("--memory", "memory_settings", is_flag=True, help="Explain the memory settings instead.")
@cache_dir_option
@json_option
def models(*, name: str | None, memory_settings: bool, as_json: bool) -> int:
    """List the known models with sizes and defaults; with NAME show one with all its sizes."""
    from batch.catalogue.models import known_models, own_file
    from batch.hub import models as places
    from batch.memory import profiles, steps
    from batch.plan import scheduler_checks

    if memory_settings:
        if name:
            raise errors.UserError("--memory takes no model: the settings are the same for every one")
        if as_json:
            print_json(memory_json(profiles.PROFILES, steps.STEPS))
        else:
            show(*memory_parts(profiles.PROFILES, steps.STEPS))
        return errors.EXIT_OK
    found = (
        [places.find_model(name, Path(), {}, online=False, tell=waiting)]
        if name
        else list(known_models().values())
    )
    here = {model.name: places.here(model) for model in found}
    data = [model_json(model, here[model.name]) for model in found]
    if as_json:
        print_json(data[0] if name else data)
    elif name:
        show(*model_parts(found[0], here[found[0].name], scheduler_checks.possible(found[0])))
    else:
        show(*models_parts(found, here, own_file()))
    return errors.EXIT_OK


def _where(model: Model) -> str:
    if model.random:
        return f"built from the configuration {f'in {model.folder}' if model.folder else 'in the program'}"
    if model.checkpoint is not None:
        rest = f"; the rest of {model.repo}" if model.repo else ""
        return f"{model.file}: {single_file(model.checkpoint)}{rest}"
    return model.repo or model.folder or model.file or "ships with the program"


def _here(model: Model, here: tuple[bool, int]) -> str:
    """``here`` is whether it is whole on this machine, and how many bytes of it are."""
    complete, size = here
    if not complete:
        missing = "its folder is not there" if model.folder else "not on this machine"
        missing = "its file is not there" if model.file and not model.repo else missing
        return f"a part of it, {gib(size)}" if size else missing
    return f"here, {gib(size)}" if model.repo and size else "here"


def models_parts(
    models: Sequence[Model], here: Mapping[str, tuple[bool, int]], own_file: Path
) -> Iterator[str | TextTable]:
    """What ``models`` prints: a table; ``here`` by name, see :func:`_here`."""
    from batch.base.tables import TextTable

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
    count = sum(model.own for model in models)
    own = f"The last {plural(count, 'model')} from" if count > 1 else "The last one from"
    yours = f"{own} {own_file}." if count else f"Models of your own may stand in {own_file}."
    yield TextTable(head=head, rows=rows, right=(3, 4), spare=(2, 5), indent=0, bold=True)
    yield "\n".join(["", *_MORE, yours])


_MORE = (
    "models NAME shows one with its sizes, its licence and where it is from, models --memory the memory settings.",
    "A manifest also takes a checkpoint in one file (models/x.safetensors), a Hub repository (id@revision) or a "
    "folder with a diffusers model, and random:NAME, which is NAME with random weights: the time and memory of "
    "the real one, without a download.",
)


def model_json(model: Model, here: tuple[bool, int]) -> dict[str, object]:
    """One model as data."""
    from batch.catalogue import precision

    return {
        "name": model.name,
        "about": model.about,
        "family": model.family,
        "from": _where(model),
        "revision": model.stamp or None,
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
        "negative_prompt": model.negative,
        "fixed_steps": model.fixed_steps,
        "needs": list(model.needs),
        "source": model.source or None,
        "own": model.own,
    }


def model_parts(model: Model, here: tuple[bool, int], schedulers: Sequence[str]) -> tuple[str, TextTable]:
    """What ``models NAME`` prints."""
    from batch.base import tables
    from batch.catalogue import precision

    sizes = [str(size) for size in model.sizes()]
    terms = f"; accept it at https://huggingface.co/{model.repo} and log in first" if model.gated else ""
    shift = f", flow shift {model.flow_shift:g}" if model.flow_shift else ""
    named = {
        "about": model.about,
        "from": _where(model),
        "revision": model.stamp or "fixed at the first run",
        "here": _here(model, here).removeprefix("here, "),
        "download": f"about {model.download_gb:g} GB" if model.download_gb else "",
        "licence": model.licence + terms if model.licence else "",
        "pipeline": model.pipeline,
        "defaults": f"dtype {model.dtype}, {plural(model.steps, 'step')}, guidance {model.guidance:g}",
        "components": ", ".join(f"{part} {dtype}" for part, dtype in precision.by_component(model).items()),
        "made for": _made_for(model),
        "own scheduler": model.scheduler + shift if model.scheduler else "",
        "weights": f"{model.weights_gib:g} GiB on the device, text encoder apart" if model.weights_gib else "",
        "needs": ", ".join(f"pip install {package}" for package in model.needs),
        "native size": str(model.native),
        f"sizes ({len(sizes)})" if sizes else "sizes": ", ".join(sizes)
        or f"any whose sides are multiples of {model.size_step}",
        "schedulers": ", ".join(schedulers),
        "facts from": model.source,
    }
    return model.name, tables.facts(named)


def _made_for(model: Model) -> str:
    facts = []
    if model.fixed_steps:
        facts.append(f"{plural(model.steps, 'step')} and no other number")
    elif model.steps_range:
        facts.append("{} to {} steps".format(*model.steps_range))
    if model.guidance_range:
        least, most = model.guidance_range
        facts.append(f"guidance {least:g} to {most:g}" if most > 1 else "no guidance")
    if not model.negative:
        facts.append("no negative prompt")
    if model.dtypes:
        facts.append(" or ".join(model.dtypes))
    if model.largest:
        facts.append(f"up to about {model.largest}")
    return ", ".join(facts)


def memory_parts(profiles: Mapping[str, Profile], steps: Mapping[str, Step]) -> tuple[str | TextTable, ...]:
    """What ``models --memory`` prints."""
    from batch.base import tables
    from batch.memory.steps import excludes

    named, told = {}, {}
    for name, profile in profiles.items():
        parts = [*(["its tiles"] if profile.tiles else []), *profile.steps]
        named[name] = profile.about + (f" ({' + '.join(parts)})" if profile.steps else "")
    for name, step in steps.items():
        others = excludes(name)
        apart = f"; not with {', '.join(others)}" if others else ""
        whose = f"; {_ONLY[step.only]}" if step.only else ""
        told[name] = f"{step.about} (changes {step.changes}{apart}{whose})"
    return "profiles", tables.facts(named), "\nsteps, joined with +", tables.facts(told)


_ONLY = {
    "staged": "not where a pipeline is called whole",
    "guidance": "only where guidance is two images in one call: SANA, PixArt, SDXL, SD3",
    "sana": "only SANA",
}


def memory_json(profiles: Mapping[str, Profile], steps: Mapping[str, Step]) -> dict[str, object]:
    """The memory settings as data."""
    from batch.memory.steps import excludes

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
