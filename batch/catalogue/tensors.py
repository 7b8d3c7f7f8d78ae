"""The header of a safetensors file: the names of its tensors, their shapes, and where each ends."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from batch.catalogue import bad_downloads
from batch.records.reading import any_json

MAX_HEADER = 8 * 2**20
"""Bytes. A tensor takes a hundred or two; the largest models have some thousands."""

BEGINNING = 512
"""Bytes that tell what is no such file."""

_LENGTH = 8

BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6} | {
    name: bits
    for bits, names in (
        (8, ("BOOL", "U8", "I8", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0")),
        (16, ("U16", "I16", "F16", "BF16")),
        (32, ("U32", "I32", "F32")),
        (64, ("U64", "I64", "F64", "C64")),
    )
    for name in names
}
"""Of one number, by dtype."""


def notes(data: bytes) -> Mapping[str, str]:
    """The notes that whoever wrote a file left in its header; none where it holds none."""
    try:
        return header(io.BytesIO(data)).notes
    except ValueError:
        return {}


def size(header: Mapping[str, Mapping[str, object]]) -> int:
    """Bytes of all tensors. Raises ValueError where a tensor is none, or they lie apart or over each other."""
    for name, entry in header.items():
        if not _is_tensor(entry):
            raise ValueError(f"its header does not say what {name!r} is")
    end = 0
    for start, after, name in sorted((*cast(Any, entry["data_offsets"]), name) for name, entry in header.items()):
        if start != end:
            how = "leaves a hole before" if start > end else "lays one tensor over"
            raise ValueError(f"its header {how} {name!r}")
        shape, dtype = cast(Any, header[name]["shape"]), str(header[name]["dtype"])
        if (after - start) * 8 != math.prod(shape) * BITS[dtype]:
            raise ValueError(f"its header gives {name!r} {after - start:,} bytes, which is not {shape} of {dtype}")
        end = after
    return end


def _is_tensor(entry: Mapping[str, object]) -> bool:
    """Whether an entry of a header says all that a tensor has."""
    shape, ends, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    lists = isinstance(shape, list) and isinstance(ends, list) and len(ends) == 2
    numbers = (*cast(Any, shape), *cast(Any, ends)) if lists else (-1,)
    counted = all(type(number) is int and 0 <= number < 2**64 for number in numbers)
    return isinstance(dtype, str) and dtype in BITS and counted


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of itself before its tensors."""

    tensors: Mapping[str, Mapping[str, object]]
    """Each tensor's entry by its name."""
    notes: Mapping[str, str]
    """What whoever wrote it has left."""
    start: int
    """Bytes before the first tensor."""


def header(file: BinaryIO) -> Head:
    """The head of a file. Raises OSError, and ValueError where it is none or one that is too large."""
    first = file.read(_LENGTH)
    length = int.from_bytes(first, "little")
    text = file.read(length if length <= MAX_HEADER else BEGINNING - _LENGTH)
    if text[:1] != b"{" or length > MAX_HEADER:
        large = f"it says that its header has {length:,} bytes, and no more than {MAX_HEADER:,} are read"
        said = bad_downloads.told((first + text)[:BEGINNING])
        raise ValueError(said or (large if length > MAX_HEADER else "its header is none"))
    if len(text) < length:
        raise ValueError("it is cut off within its header; copy or download it once more")
    data = any_json(text)
    if not isinstance(data, dict):
        raise ValueError("its header is none")
    kept = data.pop("__metadata__", None)
    kept = {} if kept is None else kept
    if not (isinstance(kept, dict) and all(isinstance(note, str) for note in kept.values())):
        raise ValueError("the notes in its header are no texts")
    if not all(isinstance(entry, dict) for entry in data.values()):
        raise ValueError("its header is none")
    return Head(data, kept, _LENGTH + length)


def is_whole(file: BinaryIO) -> bool:
    """Whether its header is readable, and it ends where the header says. The tensors are not read."""
    there = os.fstat(file.fileno()).st_size
    try:
        head = header(file)
        return bool(head.tensors) and there == head.start + size(head.tensors)
    except ValueError:
        return False
