"""The packages that the program and its extras need, which of them are here, and how the others are installed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from batch.base import install
from batch.catalogue.families import FAMILIES
from batch.catalogue.models import packaged
from batch.upkeep.examination import ForModels, Note

NOT_FOR_USERS = {"test", "dev", "tools"}

DISTRIBUTION = "run-batch"


def required() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What the program needs, and what each extra adds: from the checkout, else as it was installed."""
    here = Path(__file__).parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(here.read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            extras = project.get("optional-dependencies", {})
            return _here(project["dependencies"]), {
                extra: _here(lines) for extra, lines in extras.items() if extra not in NOT_FOR_USERS
            }
    except (OSError, ValueError, KeyError):
        pass
    try:
        lines = metadata.requires(DISTRIBUTION) or []
        names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return [], {}
    needed = _here(lines)
    known = {str(item) for item in needed}
    return needed, {
        extra: [item for item in _here(lines, extra) if str(item) not in known]
        for extra in names
        if extra not in NOT_FOR_USERS
    }


def _here(lines: Iterable[str], extra: str = "") -> list[Requirement]:
    """The requirements that count on this system, with the extra switched on."""
    items = [Requirement(line) for line in lines]
    return [item for item in items if item.marker is None or item.marker.evaluate({"extra": extra})]


def versions(items: Iterable[Requirement]) -> dict[str, str | None]:
    """By package, the version that is installed; None where none is."""
    found: dict[str, str | None] = {}
    for item in items:
        try:
            found[item.name] = metadata.version(item.name)
        except metadata.PackageNotFoundError:
            found[item.name] = None
    return found


def for_models() -> dict[str, ForModels]:
    """The packages that only some models of the catalogue need, and which models these are."""
    models: dict[str, list[str]] = {}
    for name, model in packaged().items():
        for package in sorted({*FAMILIES[model.family].needs, *model.needs}):
            models.setdefault(package, []).append(name)
    found = versions(Requirement(package) for package in sorted(models))
    return {
        package: ForModels(version=version, models=tuple(models[package])) for package, version in found.items()
    }


def notes(needed: Sequence[Requirement]) -> list[Note]:
    """What is missing, and what is too old or too new."""
    needed = [item for item in needed if item.name != "torch"]  # it speaks for itself
    found = versions(needed)
    missing = [item for item in needed if found[item.name] is None]
    other = [
        item
        for item in needed
        if (version := found[item.name]) is not None and not item.specifier.contains(version, prereleases=True)
    ]
    told = []
    if missing:
        names = ", ".join(item.name for item in missing)
        told.append(Note(text=f"not installed: {names}", remedy=_installing(missing), stops=True))
    if other:
        names = ", ".join(f"{item.name} {found[item.name]} ({item.specifier} is needed)" for item in other)
        told.append(Note(text=f"of another version: {names}", remedy=_installing(other)))
    return told


def remedy(items: Sequence[Requirement]) -> str:
    """The command that installs what is lacking of an extra."""
    found = versions(items)
    return _installing(item for item in items if found[item.name] is None)


def _installing(items: Iterable[Requirement]) -> str:
    return install.packages(f"{item.name}{item.specifier}" for item in items)
