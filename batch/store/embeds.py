"""Prompt embeddings kept across runs in the user's cache folder, one safetensors file per text.

A cache: any file may be deleted at any time, and a damaged one counts as missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from batch.base import atomic, regular
from batch.catalogue import tensors


class EmbedCache:
    """Embeddings by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "embeds"

    def has(self, key: str) -> bool:
        """Whether the embedding is there and whole."""
        try:
            with regular.opened(self._path(key)) as file:
                return _is_whole(file)
        except OSError:
            return False

    def read(self, key: str) -> bytes | None:
        """The safetensors bytes, or None."""
        try:
            with regular.opened(self._path(key)) as file:
                if not _is_whole(file):
                    return None
                file.seek(0)
                return file.read()
        except OSError:
            return None

    def write(self, key: str, data: bytes) -> None:
        """Keep an embedding."""
        atomic.write(self._path(key), data)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"


def _is_whole(file: BinaryIO) -> bool:
    """Whether its header is readable, and it ends where the header says. The tensors are not read."""
    size = os.fstat(file.fileno()).st_size
    try:
        header, start = tensors.header(file)
        return bool(header) and size == start + tensors.size(header)
    except ValueError:
        return False
