"""Names of models that nothing has: what they may mean, from the catalogue and from the files beside."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from batch.base.errors import ModelError
from batch.catalogue import weights
from batch.catalogue.models import known_models
from batch.catalogue.repositories import is_repository
from batch.catalogue.single_files import SUFFIXES
from batch.hub.files import beside, in_a_list, local

_HASH = re.compile(r"\s*\[[0-9a-fA-F]{6,64}\]$")
"""What A1111 puts behind a checkpoint's name."""

_MOST = 4
"""Names among which somebody may choose."""


def refuse_meant_file(name: str, base: Path) -> None:
    """Raise :class:`ModelError` where a name is that of a checkpoint, save for its ending or a hash behind it."""
    bare = _HASH.sub("", name)
    if bare != name:
        here = bare if local(base, bare).is_file() else beside(base, bare)
        there = here or f"{bare}, with the folder that it lies in"
        raise ModelError(f"'{name}' is a checkpoint's name and its hash; write {there}")
    for file in (f"{name}{suffix}" for suffix in SUFFIXES if not local(base, name).is_dir()):
        if meant := file if local(base, file).is_file() else beside(base, file):
            raise ModelError(f"'{name}' is not known; did you mean the file {meant}?")


def unknown(name: str, folder: Path) -> str:
    """What to say of a name that no model has; ``folder`` is where a folder of that name would be."""
    if folder.is_dir():
        files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        beside = f", but checkpoints; {in_a_list(Path(name), files)}" if files else ""
        return f"the folder {folder} holds no diffusers model (no {weights.INDEX}){beside}"
    repo, _, revision = name.removeprefix("https://huggingface.co/").strip("/").partition("@")
    if revision and repo in known_models() and (of := known_models()[repo].repo):
        return f"'{name}' is not known: a name of the catalogue takes no revision; write {of}@{revision}"
    if not name.startswith(repo) or name.endswith("/"):
        plain = f"{repo}@{revision}" if revision else repo
        if is_repository(repo):
            return f"'{name}' is not known; write {plain}"
    alike = _alike(name)
    hint = f"did you mean {alike}? Else" if alike else "write a name that `models` lists,"
    return (
        f"'{name}' is not known; {hint} a repository of the Hub (owner/name), a folder, or a checkpoint "
        f"(models/x{SUFFIXES[0]})"
    )


def _alike(name: str) -> str:
    """Names of the catalogue that are nearly the same or have the name in them or in what is said of them."""
    known, plain = known_models(), _letters(name)
    if near := get_close_matches(name.casefold(), known, 1):
        return near[0]
    found = [key for key in known if plain in _letters(key)] or [
        key for key, model in known.items() if plain in _letters(f"{model.about} {model.repo}")
    ]
    if len(plain) < 3 or not found:
        return ""
    return ", ".join(found[:_MOST]) + (f" or another of {len(found)}" if len(found) > _MOST else "")


def _letters(text: str) -> str:
    """Letters and digits alone: ``FLUX.2`` and ``flux-2`` are one."""
    return re.sub(r"[\W_]", "", text.casefold())
