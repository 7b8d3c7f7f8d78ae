"""Checkpoints of pictures: found by name or hash among the files beside the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from batch.base import checksums
from batch.catalogue.single_files import SUFFIXES
from batch.hub.files import FOLDERS

VAE_FOLDERS = ("", "models", "VAE", "vae", "models/VAE", "models/vae")
"""Where autoencoders lie, as :data:`batch.hub.files.FOLDERS` says of checkpoints."""

_HASH = 10
"""Digits that other programs show."""

_WHOLE = 64
"""Digits that pictures of this program carry."""


def beside(folder: Path, name: str, told: str) -> tuple[str, str]:
    """The path of a picture's checkpoint as a manifest in ``folder`` has it, and what to say; "" for none.

    ``name`` and the hash ``told`` are anybody's: they are compared with what is there, and never opened. No file
    is read for its hash. A whole SHA-256 says which file it is, however both are called.
    """
    stem = Path(name).stem if Path(name).suffix.lower() in (*SUFFIXES, ".ckpt") else name
    is_path = bool({"/", "\\"} & {*name})  # a picture of this program's: it may lie there, where nobody looks
    files = list(_files(folder))
    digits = _WHOLE if len(told) == _WHOLE else _HASH
    same_hash = [path for path in files if told and checksums.known(path)[:digits] == told[:digits]]
    same_hash.sort(key=lambda path: path.relative_to(folder).as_posix() != name)
    same_name = [path for path in files if path.stem.casefold() == stem.casefold() and not is_path]
    found = next(iter([*same_hash, *same_name]), None)
    if found is None:
        return "", ""
    path = found.relative_to(folder).as_posix()
    if same_hash:
        return path, ""
    known = checksums.known(found)[:_HASH]
    if told and known:
        return path, f"{path} has another hash than its text says, {known} and {told[:_HASH]}: it is another file"
    return path, f"{path} is taken for its model, by its name"


def vae_beside(folder: Path, name: str) -> str:
    """The path of a picture's autoencoder as a manifest in ``folder`` has it; "" for none."""
    files = _files(folder, VAE_FOLDERS)
    return next((path.relative_to(folder).as_posix() for path in files if path.name == name), "")


def _files(folder: Path, places: Iterable[str] = FOLDERS) -> Iterator[Path]:
    for inner in places:
        if (folder / inner).is_dir():
            yield from sorted(path for path in (folder / inner).iterdir() if path.suffix.lower() in SUFFIXES)
