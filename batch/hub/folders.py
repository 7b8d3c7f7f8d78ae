"""Models in folders: what they hold, whether it is whole, and a hash of their content.

A revision says which weights: for a Hub model the commit, for files on disk a hash of their content.
Hashing ten gigabytes takes longer than planning should, so large files are sampled: the header (which
in safetensors names every tensor) and blocks spread over the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from batch.base import regular
from batch.base.errors import ModelError
from batch.catalogue import configs, modular, tensors, weights
from batch.catalogue.weights import Needs
from batch.hub.cache import names_in
from batch.records.reading import any_json

MAX_CONFIGURATION = 8 * 2**20
"""Bytes of a configuration file; they have some thousands."""

MAX_TEXT = 256 * 2**20
"""Bytes of a vocabulary or tokenizer; the largest have forty million."""

_TEXTS = (".json", ".txt", ".model")

_WHOLE = 32 * 2**20
_BLOCK = 2**16
_BLOCKS = 128


def json_of(path: Path) -> dict[str, Any]:
    """A configuration file. Raises :class:`ModelError` when it is none."""
    try:
        data = any_json(regular.read(path, MAX_CONFIGURATION))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not a configuration")
    return data


def reader(folder: Path) -> configs.Read:
    """Configuration files of a model's folder by their path; see :func:`batch.catalogue.modular.translated`."""
    return modular.translated(lambda path: json_of(folder / path) if (folder / path).is_file() else None)


def holds_model(folder: Path) -> bool:
    """Whether a folder says what it is made of."""
    return any((folder / name).is_file() for name in (weights.INDEX, modular.INDEX))


def index_of(folder: Path) -> configs.Config:
    """The index of the model in a folder. Raises :class:`ModelError` where there is none."""
    index = reader(folder)(weights.INDEX)
    return json_of(folder / weights.INDEX) if index is None else index


def needs_of(folder: Path, *, variant: str | None = None, dtype: str = "", held: Collection[str] = ()) -> Needs:
    """What a session loads of a folder with a model; see :func:`batch.catalogue.weights.of`."""
    return weights.of(index_of(folder), names_in(folder), variant=variant, dtype=dtype, held=held)


def whole(folder: Path, dtype: str, variant: str = "", held: Collection[str] = ()) -> Needs | None:
    """What a session loads of a snapshot; None where not all of it is there, as far as its own files tell."""
    if not holds_model(folder):
        return None
    try:
        index, names = index_of(folder), names_in(folder)
    except ModelError:  # it is cut off
        return None
    needs = weights.of(index, names, variant=variant or None, dtype=dtype, held=held)
    return None if weights.lacking(index, names, needs, held) else needs


def check_complete(name: str, folder: Path) -> None:
    """Refuse a folder that was copied by half."""
    check_vocabularies(name, folder)
    check_configurations(name, folder)
    for part in weights.components(index_of(folder)):
        if weights.is_weighted(part) and not any(file.endswith(weights.WEIGHTS) for file in inside(folder, part)):
            raise ModelError(f"{name} is not complete: {part}/ holds no weights")


def check_configurations(name: str, folder: Path) -> None:
    """Refuse a component without configuration: nothing says what its weights are."""
    for part in weights.components(index_of(folder)):
        if weights.is_weighted(part) and "config.json" not in inside(folder, part):
            raise ModelError(f"{name} is not complete: {part}/ holds no config.json")


def check_vocabularies(name: str, folder: Path) -> None:
    """Refuse a tokenizer without words: it would render other pictures in silence."""
    for part in weights.components(index_of(folder)):
        if weights.lacks_words(part, inside(folder, part)):
            raise ModelError(f"{name} is not complete: {part}/ holds no vocabulary ({weights.VOCABULARY[0]})")


def check_files(name: str, folder: Path, files: Iterable[str]) -> None:
    """Refuse files that would fill the memory of whoever loads them: endless headers and vocabularies."""
    for file in files:
        try:
            with regular.opened(folder / file) as data:
                size = os.fstat(data.fileno()).st_size
                if file.endswith(weights.SAFETENSORS):
                    length, most = int.from_bytes(data.read(8), "little"), tensors.MAX_HEADER
                elif file.endswith(_TEXTS):
                    length, most = size, MAX_TEXT
                else:
                    continue
        except FileNotFoundError:
            continue  # what is not complete is said elsewhere
        except OSError as error:
            raise ModelError(f"{file} of {name} cannot be read: {error}") from None
        if most < length <= size:  # one that is longer than its file is damaged: loading says so at once
            what = "a header of" if file.endswith(weights.SAFETENSORS) else ""
            raise ModelError(f"{file} of {name} has {what} {length:,} bytes, and no more than {most:,} are read")


def inside(folder: Path, part: str) -> list[str]:
    """The names of what lies in a component's folder."""
    return [item.name for item in (folder / part).iterdir()] if (folder / part).is_dir() else []


def revision_of(folder: Path, *, without: tuple[str, ...] = ()) -> str:
    """A hash of what a folder holds."""
    total, skipped = hashlib.sha256(), (".md", *without)
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and item.suffix not in skipped):
        if any(part.startswith((".", "__")) for part in path.relative_to(folder).parts):
            continue
        total.update(f"{path.relative_to(folder).as_posix()}\0{sampled(path)}\n".encode())
    return total.hexdigest()[:16]


def sampled(path: Path) -> str:
    """A hash of a file: of all of it, or of samples where it is large."""
    with regular.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        found = hashlib.sha256(str(size).encode())
        if size <= _WHOLE:
            found.update(file.read())
        else:
            for index in range(_BLOCKS):
                file.seek((size - _BLOCK) * index // (_BLOCKS - 1))
                found.update(file.read(_BLOCK))
    return found.hexdigest()
