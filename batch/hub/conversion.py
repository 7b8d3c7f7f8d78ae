"""Checkpoints that are pickles as safetensors in the user's cache, converted once each.

A process of its own reads them (:mod:`batch.render.unpickle`): planning has no torch. What it makes is known by
the SHA-256 of the pickle, and is a cache: any file may be deleted at any time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic, regular
from batch.base.cache import default_folder
from batch.base.errors import Interrupted, ModelError
from batch.base.processes import ChildProcess
from batch.base.text import gib
from batch.catalogue import tensors
from batch.hub.files import content

if TYPE_CHECKING:
    from threading import Event

    from batch.hub.files import Looking

TICK_S = 0.2

ABANDONED_S = 3600.0
"""What nobody has written to for so long was left by a process that was killed."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was made of a pickle."""

    path: Path
    of: str
    """The SHA-256 of the pickle."""


def converted(name: str, path: Path, looking: Looking) -> Converted:
    """The safetensors file with the weights of a pickle, made now where it is not there.

    Raises :class:`ModelError` where it holds more than weights or the disk is too small, and :class:`Interrupted`.
    """
    sha256 = content(path, looking.tell)
    folder = default_folder() / "converted" / sha256[:2]
    target = folder / f"{sha256}.safetensors"
    if _is_whole(target):
        return Converted(target, sha256)
    part = atomic.part_of(target, "convert")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        looking.tell(f"converting {path.name} ({gib(path.stat().st_size)}) to safetensors, once")
        if _convert(name, path, part, looking.fetching.stop if looking.fetching else None) != sha256:
            raise ModelError(
                f"{name} was written to while it was read, or is damaged: wait until it is complete; one of the "
                "Hub is repaired by `fetch --check`"
            )
        atomic.move(part, target)
    except OSError as error:
        raise ModelError(
            f"{name} cannot be converted into {folder}: {error.strerror or error}. RUN_BATCH_CACHE names another "
            "folder"
        ) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Converted(target, sha256)


def _is_whole(path: Path) -> bool:
    try:
        with regular.opened(path) as file:
            return tensors.is_whole(file)
    except OSError:
        return False


def _sweep(folder: Path) -> None:
    """Remove what a killed process has left unfinished: it may be gigabytes."""
    for part in folder.glob(f"*/.*{atomic.TEMP_SUFFIX}"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()


def _convert(name: str, path: Path, part: Path, stop: Event | None) -> str:
    """The SHA-256 of what was converted."""
    request = {"path": str(path), "part": str(part)}
    # A card is not needed; and no variable may widen what is unpickled.
    variables = {"CUDA_VISIBLE_DEVICES": "-1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
    with ChildProcess("batch.render.unpickle", request, variables) as child:
        while stop is None or not stop.is_set():
            try:
                said = child.answer(TICK_S)
            except TimeoutError:
                continue
            if said is None:
                ended = child.last_words() or f"exit code {child.code()}"
                raise ModelError(f"{name} cannot be converted: the process that reads it failed ({ended})")
            if "why" in said:
                raise ModelError(f"{name}: {said['why']}")
            return str(said["sha256"])
    raise Interrupted("interrupted while a checkpoint was converted; the same command begins that anew")
