"""Texts in the lowest bits of a picture's pixels: how NovelAI keeps them where metadata are taken out.

Column by column, in the alpha or in red, green and blue: a signature, the length in bits, the text, packed or not.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.base import regular
from batch.records.reading import any_json
from batch.store.images.containers import MAX_TEXT
from batch.store.images.reading import read_pixels
from batch.store.images.texts import PARAMETERS_KEY

MAX_PIXELS = 2**24
"""Of a picture that is unpacked for this: those of NovelAI have a million, and other pictures mostly nothing."""

_SIGNATURES = {
    b"stealth_pnginfo": ("alpha", False),
    b"stealth_pngcomp": ("alpha", True),
    b"stealth_rgbinfo": ("rgb", False),
    b"stealth_rgbcomp": ("rgb", True),
}
_HEAD = 15 + 4
"""Bytes of signature and length."""


def read_stealth(path: Path) -> dict[str, str]:
    """The texts by key; empty where there are none, or nothing can be read. Of PNG, which keeps such bits."""
    try:
        if not _is_small_png(path):
            return {}
        pixels = read_pixels(path)
    except (OSError, ValueError):
        return {}
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (3, 4):
        return {}
    columns = pixels.transpose(1, 0, 2)
    for channels in ([columns[:, :, 3:]] if pixels.shape[2] == 4 else []) + [columns[:, :, :3]]:
        if text := _hidden(channels):
            return _by_key(text)
    return {}


def _is_small_png(path: Path) -> bool:
    with regular.opened(path) as file:
        head = file.read(24)
    if len(head) < 24 or not head.startswith(b"\x89PNG"):
        return False
    pixels: int = math.prod(struct.unpack(">II", head[16:]))
    return 0 < pixels <= MAX_PIXELS


def _hidden(channels: NDArray[np.uint8]) -> str:
    head = _bytes(channels, 0, _HEAD)
    kind, packed = _SIGNATURES.get(head[:15], ("", False))
    if kind != ("alpha" if channels.shape[2] == 1 else "rgb"):
        return ""
    size = int.from_bytes(head[15:], "big") // 8
    data = _bytes(channels, _HEAD, min(size, MAX_TEXT))
    if packed:
        try:
            data = zlib.decompressobj(31).decompress(data, MAX_TEXT)  # gzip's head
        except zlib.error:
            return ""
    return data.decode("utf-8", "replace")


def _bytes(channels: NDArray[np.uint8], start: int, count: int) -> bytes:
    """Of the bits from a place on; as many as there are."""
    bits = 8 * (start + count)
    column = channels.shape[1] * channels.shape[2]
    flat = channels[: -(-bits // column)].reshape(-1)[8 * start : bits]
    return np.packbits(flat & 1).tobytes()[: len(flat) // 8]


def _by_key(text: str) -> dict[str, str]:
    """NovelAI keeps the texts of its file by their keys, others A1111's."""
    try:
        data = any_json(text)
    except ValueError:
        data = None
    if isinstance(data, dict) and isinstance(data.get("Comment"), str):
        return {key: value for key, value in data.items() if isinstance(value, str)}
    return {PARAMETERS_KEY: text}
