"""PNG as level 1 writes it: a predictor for every strip of rows, run-length and Huffman codes behind it.

Lossless, and readable by whatever reads PNG. Written here and not by Pillow because its way, a choice of
filter row by row, takes four times as long. One thread works on a picture and the choices depend on its pixels
alone, so the same pixels give the same bytes whatever the machine does meanwhile. Beside the file, a picture of
any size takes a few megabytes: strips stay in the cache between prediction and compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from batch.store.images import deflate

Bytes = NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2
_CHANNELS = 3

STRIP_ROWS = 64
_STRIP_BYTES = 2**24
"""At most, where rows are very long."""

_SAMPLED_ROWS = 4
"""Of every strip, by which its filter is chosen."""

_SUB, _UP, _AVERAGE = 1, 2, 3
"""Filters as PNG numbers them: what is predicted from the pixel on the left, above, or from both."""


def write(pixels: Bytes, texts: Mapping[str, str]) -> bytes:
    """A PNG file of ``height x width x 3`` pixels, and a text chunk for each text."""
    height, width = pixels.shape[:2]
    # Width, height, bits of a channel, channels; deflate, the five filters, not interlaced.
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    parts = [_SIGNATURE, *_chunk(b"IHDR", header)]
    for kind, data, *_ in text_chunks(texts).chunks:
        parts += _chunk(kind, data)
    rows = np.ascontiguousarray(pixels).reshape(height, width * _CHANNELS)
    for data in _stream(rows):
        parts += _chunk(b"IDAT", data)
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> Iterator[bytes]:
    yield struct.pack(">I4s", len(data), kind)
    yield data
    yield struct.pack(">I", deflate.crc32(data, deflate.crc32(kind)))


def text_chunks(texts: Mapping[str, str]) -> PngInfo:
    """``tEXt`` where Latin-1 holds the text, else ``iTXt``."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return info


def _stream(rows: Bytes) -> Iterator[bytes]:
    """The picture as one zlib stream, in parts."""
    height, size = rows.shape
    strip_rows = max(1, min(STRIP_ROWS, height, _STRIP_BYTES // size))
    filtered = np.empty((strip_rows, 1 + size), np.uint8)
    scratch = np.empty((strip_rows, size), np.uint8)
    packer = deflate.packer()
    for top in range(0, height, strip_rows):
        strip = rows[top : top + strip_rows]
        if top:
            above = rows[top - 1 : top - 1 + len(strip)]
        else:  # PNG counts what lies outside of the picture as zero
            above = np.concatenate([np.zeros_like(strip[:1]), strip[:-1]])
        out = filtered[: len(strip)]
        kind = _best(strip, above)
        out[:, 0] = kind
        _filter(kind, strip, above, out[:, 1:], scratch[: len(strip)])
        if data := packer.compress(out):
            yield data
    yield packer.flush()


def _filter(kind: int, strip: Bytes, above: Bytes, out: Bytes, scratch: Bytes) -> None:
    """What a filter leaves of each byte, modulo 256, into ``out``; all are ``rows x bytes`` of one shape."""
    if kind == _UP:
        np.subtract(strip, above, out=out)
        return
    left, here, ahead = strip[:, :-_CHANNELS], strip[:, _CHANNELS:], out[:, _CHANNELS:]
    first = np.s_[:, :_CHANNELS]
    if kind == _SUB:
        np.subtract(here, left, out=ahead)
        out[first] = strip[first]
        return
    # The average without a ninth bit: what two bytes share, and half of what they do not.
    half, over = scratch[:, _CHANNELS:], above[:, _CHANNELS:]
    np.bitwise_xor(left, over, out=half)
    np.right_shift(half, 1, out=half)
    np.bitwise_and(left, over, out=ahead)
    np.add(ahead, half, out=ahead)
    np.subtract(here, ahead, out=ahead)
    np.subtract(strip[first], above[first] >> 1, out=out[first])


def _best(strip: Bytes, above: Bytes) -> int:
    """The filter that leaves the fewest bits a byte in a sample of the rows; the first of equals."""
    step = max(1, len(strip) // _SAMPLED_ROWS)
    sample = np.s_[step // 2 :: step]  # not the picture's first row, which has nothing above it
    strip, above = strip[sample], above[sample]
    out, scratch = np.empty_like(strip), np.empty_like(strip)
    bits = {}
    for kind in (_AVERAGE, _UP, _SUB):
        _filter(kind, strip, above, out, scratch)
        counts = np.bincount(out.ravel(), minlength=256)
        shares = counts[counts > 0] / out.size
        # The last digits of a logarithm differ between processors, and so would the file.
        bits[kind] = round(float(-(shares * np.log2(shares)).sum()), 6)
    return min(bits, key=lambda kind: bits[kind])
