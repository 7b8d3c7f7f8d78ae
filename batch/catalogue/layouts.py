"""Layouts of checkpoints in one file: all that such a file does not hold of its model.

A layout is a diffusers folder without weights: the index, the components' configurations, the scheduler's, and the
tokenizers. Those of Stable Diffusion 1, 2 and XL ship with the program and are written into the user's cache when
they are first asked for, and again where they are changed; every other kind has that of its model's repository.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from batch.base import atomic, regular
from batch.base.cache import default_folder
from batch.base.errors import UserError


def packaged(kind: str) -> Path | None:
    """The folder of a layout that ships with the program; None of others.

    Files that are missing or changed are written anew: each is read once a process, then looked for.
    Raises :class:`UserError` where the cache cannot be written.
    """
    if kind not in _known()["packaged"]:
        return None
    files, version = _files(kind)
    folder = default_folder() / "layouts" / f"{kind}-{version}"
    try:
        for name, data in files.items():
            if folder in _read and (folder / name).is_file():
                continue
            if not _holds(folder / name, data):
                atomic.write(folder / name, data, durable=False)
    except OSError as error:
        raise UserError(
            f"the layout of {kind} cannot be written: {error}; RUN_BATCH_CACHE names another folder"
        ) from None
    _read.add(folder)
    return folder


_read: set[Path] = set()
"""The folders whose files are known to be what ships."""


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there with that content."""
    try:
        return regular.read(path, len(data)) == data
    except (OSError, ValueError):
        return False


def repository(kind: str) -> str:
    """Whose layout a kind has: a repository of the Hub. Raises KeyError for a kind that is unknown."""
    name: str = _known()["repositories"][kind]
    return name


@cache
def _files(kind: str) -> tuple[dict[str, bytes], str]:
    """A layout's files, and a hash of them: another release may have others."""
    made = {}
    for name, config in _known()["packaged"][kind].items():
        made[name] = json.dumps(config, indent=2).encode()
        folder, _, file = name.partition("/")
        if file == "tokenizer_config.json":
            made[f"{folder}/merges.txt"] = f"#version: 0.2\n{_merges()}".encode()
            made[f"{folder}/vocab.json"] = _vocabulary()
    return made, hashlib.sha256(repr(sorted(made.items())).encode()).hexdigest()[:8]


@cache
def _known() -> dict[str, dict[str, Any]]:
    text = resources.files("batch.catalogue").joinpath("layouts.yaml").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return known


@cache
def _merges() -> str:
    data = resources.files("batch.catalogue").joinpath("clip_merges.txt.gz").read_bytes()
    return gzip.decompress(data).decode()


@cache
def _vocabulary() -> bytes:
    """CLIP's tokens with their numbers: each byte, each at a word's end, what each merge makes, two marks."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    # A byte that is no visible letter of its own stands as a letter beyond those of one byte.
    letters = [chr(byte) for byte in shown] + [chr(256 + number) for number in range(256 - len(shown))]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [line.replace(" ", "") for line in _merges().splitlines()]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False).encode()
