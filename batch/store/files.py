"""JSON files of a run folder: read as what they should hold, published whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from batch.base import atomic, regular
from batch.records.reading import from_json
from batch.records.receipts import Failure, Receipt

T = TypeVar("T")

UNREADABLE = (OSError, ValueError)
"""What reading a file raises that is missing, cut off, or not what it should be."""

MAX_TABLE = 64 * 2**20
"""Bytes of a file that may say something of every image of a run: a hundred each, for half a million of them."""

MAX_RECORD = 2**21
"""Bytes of a file about one image. A receipt has some two thousand, and what its prompts take: three texts of
100,000 letters at most, with four bytes each."""

_LIMITS: Mapping[object, int] = {Receipt: MAX_RECORD, Failure: MAX_RECORD}


def read(kind: type[T], path: Path) -> T:
    """What a file holds. Raises OSError, or ValueError where it is damaged or larger than its kind may be."""
    return from_json(kind, regular.read(path, _LIMITS.get(kind, MAX_TABLE)))


def write(path: Path, data: Mapping[str, object], runner: str) -> None:
    """Publish a file. Raises OSError."""
    atomic.write(path, _text(data), runner)


def create(path: Path, data: Mapping[str, object], runner: str) -> bool:
    """Publish a file where there is none; False where there is one. Raises OSError."""
    return atomic.create(path, _text(data), runner)


def _text(data: Mapping[str, object]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1)
    return text.encode("utf-8", "surrogatepass")
