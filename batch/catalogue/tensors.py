"""The header of a safetensors file: the names of its tensors, their shapes, and where each ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

from batch.catalogue import bad_downloads
from batch.records.reading import any_json

MAX_HEADER = 8 * 2**20
"""Bytes. A tensor takes a hundred or two; the largest models have some thousands."""

BEGINNING = 512
"""Bytes that tell what is no such file."""

_LENGTH = 8


def notes(data: bytes) -> Mapping[str, str]:
    """The notes that whoever wrote a file left in its header; none where it holds none."""
    length = int.from_bytes(data[:_LENGTH], "little")
    try:
        found = any_json(data[_LENGTH : _LENGTH + length]) if length <= MAX_HEADER else None
    except ValueError:
        return {}
    kept = found.get("__metadata__") if isinstance(found, dict) else None
    return {name: text for name, text in kept.items() if isinstance(text, str)} if isinstance(kept, dict) else {}


def header(file: BinaryIO) -> tuple[Mapping[str, Mapping[str, object]], int]:
    """What a file says of each tensor by its name, and how many bytes lie before the first one.

    Raises OSError, and ValueError where it is no such header or one that is too large.
    """
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
    data.pop("__metadata__", None)
    if not all(isinstance(entry, dict) for entry in data.values()):
        raise ValueError("its header is none")
    return data, _LENGTH + length


def is_whole(file: BinaryIO) -> bool:
    """Whether its header is readable, and it ends where the header says. The tensors are not read."""
    size = os.fstat(file.fileno()).st_size
    try:
        entries, start = header(file)
        ends = [cast(Any, entry["data_offsets"])[1] for entry in entries.values()]
        return bool(ends) and size == start + max(ends)
    except (ValueError, LookupError, TypeError):
        return False
