"""The process that turns a pickle into safetensors: ``python -P -m batch.render.unpickle``.

It is asked with the path of the pickle and that of the file to write, and answers with the SHA-256 of what it has
read, or why that cannot be converted.
torch's restricted reader alone is used: it makes tensors and plain values, calls nothing that a file names, and
refuses files that want more.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from batch.base import disk, regular
from batch.base.cache import default_folder
from batch.base.processes import Parent
from batch.base.text import gib

HEADROOM = 2**30
"""Bytes that stay free on the cache's disk."""

_INSIDE = ("state_dict", "params_ema", "params")
"""Under which names the weights lie, where they are not all that there is: of checkpoints, of upscalers."""


class Refused(Exception):  # noqa: N818 - reads as what it is
    """Why a file is not converted, for people."""


def main() -> None:
    """Read the request, convert, say how it ended."""
    parent = Parent()
    path = Path(parent.request["path"])
    try:
        convert(path, Path(parent.request["part"]))
        with regular.opened(path) as file:  # now: what was written to meanwhile has another hash
            parent.tell({"sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    except Refused as error:
        parent.tell({"why": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever the file makes of the reader, the parent tells it
        why = f"torch cannot read it ({_first(error)}): it is damaged, cut off, or no checkpoint"
        parent.tell({"why": why})
    os._exit(0)


def convert(path: Path, part: Path) -> None:
    """Write the weights of a pickle into a safetensors file. Raises :class:`Refused`, and what torch raises."""
    found = dict(_weights(_unpickled(path)))
    needed, size = sum(tensor.nbytes for tensor in found.values()), path.stat().st_size
    if not found:
        raise Refused("it holds no weights by name, so it is no checkpoint")
    if needed > 2 * size + 2**20:  # a few bytes can stand for terabytes: a tensor of one number, expanded
        raise Refused(f"its weights would take {gib(needed)}, and it has {gib(size)}: it is no checkpoint")
    free = disk.free(part.parent)
    if free is not None and needed + HEADROOM > free:
        raise Refused(
            f"converting it takes {gib(needed)}, and {gib(HEADROOM)} should stay free, but the disk of "
            f"{default_folder()} has {gib(free)} free. Make room, or name another folder with RUN_BATCH_CACHE"
        )
    try:
        save_file(_apart(found), part, {"format": "pt"})
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise Refused(f"its weights cannot be written into {default_folder()}: {error}") from None


def _unpickled(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except pickle.UnpicklingError as error:
        # torch's own words tell how to load it all the same.
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None:
            raise Refused("it is no checkpoint that torch has saved") from None
        raise Refused(
            f"it holds more than weights (it wants {wanted[1]}), as those of a training with Lightning do, and "
            "such a pickle is not read, since it may run any code. Convert it to safetensors where you trust it"
        ) from None


def _can_be_mapped(path: Path) -> bool:
    """Whether its weights lie in the file as they are: an older one is no archive, another may be compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
    except zipfile.BadZipFile:
        return False


def _weights(loaded: object) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that lie in a file, and in the tables in it, by name."""
    if not isinstance(loaded, Mapping):
        return
    inside = next((loaded[name] for name in _INSIDE if isinstance(loaded.get(name), Mapping)), loaded)
    for name, value in inside.items():
        among = value.items() if isinstance(value, Mapping) else ()
        for whole, item in ((name, value), *((f"{name}.{inner}", item) for inner, item in among)):
            if isinstance(whole, str) and isinstance(item, torch.Tensor) and _is_plain(item):
                yield whole, item.detach()


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether its numbers lie in memory one by one: not sparse, quantised or without any."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _apart(found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, each whole and in memory of its own, as safetensors want them."""
    made: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in found.items():
        whole = tensor.contiguous()
        if whole.untyped_storage().data_ptr() in seen:
            whole = whole.clone()
        seen.add(whole.untyped_storage().data_ptr())
        made[name] = whole
    return made


def _first(error: Exception) -> str:
    """The first sentence of an error, or its kind."""
    return re.split(r"\.\s|\n", str(error).strip(), maxsplit=1)[0] or type(error).__name__


if __name__ == "__main__":
    main()
