"""JSON files of a run folder: read as what they should hold, published whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from batch.base import atomic
from batch.records.reading import from_json

T = TypeVar("T")

UNREADABLE = (OSError, ValueError)
"""What reading a file raises that is missing, cut off, or not what it should be."""


def read(kind: type[T], path: Path) -> T:
    """What a file holds. Raises OSError, or ValueError where it is damaged."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered: it counts for 100,000 receipts
        return from_json(kind, file.read())


def write(path: Path, data: Mapping[str, object], runner: str) -> None:
    """Publish a file. Raises OSError."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, indent=1)
    atomic.write(path, text.encode("utf-8", "surrogatepass"), runner)
