"""Prompt embeddings kept across runs in the user's cache folder, one safetensors file per text.

A cache: any file may be deleted at any time, and a damaged one counts as missing.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from batch.base import atomic


class EmbedCache:
    """Embeddings by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "embeds"

    def has(self, key: str) -> bool:
        """Whether the embedding is there and whole."""
        return self.read(key) is not None

    def read(self, key: str) -> bytes | None:
        """The safetensors bytes, or None."""
        try:
            data = self._path(key).read_bytes()
            # Whole is one whose header is readable, and which ends where the header says.
            (length,) = struct.unpack_from("<Q", data)
            header = json.loads(data[8 : 8 + length])
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return data if ends and len(data) == 8 + length + max(ends) else None
        except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, key: str, data: bytes) -> None:
        """Keep an embedding."""
        atomic.write(self._path(key), data)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
