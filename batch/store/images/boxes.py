"""Metadata in files made of boxes: JPEG XL, whose boxes hold it, and AVIF, whose boxes say where it lies.

As in :mod:`batch.store.images.containers` what is damaged raises OSError or ValueError.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from batch.base.regular import TooLarge
from batch.store.images import packets
from batch.store.images.containers import MAX_BYTES, MAX_PARTS, Metadata, exif

MAX_INDEX = 2**20
"""Bytes of a box that lists items: a picture has a handful of twenty bytes each, its metadata among them."""


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Of what it holds."""
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes between two places of a file; one that claims to go on behind them is cut short."""
    for _ in range(MAX_PARTS):
        file.seek(start)
        head = file.read(min(16, end - start))
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        inside = start + 8
        if size == 1 and len(head) == 16:
            size, inside = struct.unpack(">Q", head[8:])[0], start + 16
        stop = start + size if size else end  # the last one reaches to the end of the file
        if stop < inside:
            raise ValueError("a box is damaged")
        yield _Box(kind, inside, stop)
        if stop >= end:
            return
        start = stop
    raise TooLarge("it has too many boxes")


def _held(file: BinaryIO, start: int, size: int, limit: int) -> bytes:
    if size > limit:
        raise TooLarge("its metadata is too large")
    file.seek(start)
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut short")
    return data


def jxl(file: BinaryIO) -> Metadata:
    """Of a JPEG XL picture in a container; compressed boxes, which nobody has been seen to write, are left out."""
    found, left = Metadata(), MAX_BYTES
    for box in _boxes(file, 0, file.seek(0, io.SEEK_END)):
        if box.kind in (b"Exif", b"xml "):
            data = _held(file, box.start, box.end - box.start, left)
            left -= len(data)
            if box.kind == b"xml ":
                found.xmp = data
            else:
                found.exif = exif(_behind_offset(data))
    return found


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
"""Of width to height, as JPEG XL numbers them."""


def jxl_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height of a JPEG XL picture, from its head (ISO/IEC 18181-1, SizeHeader): nothing is unpacked."""
    file.seek(0)
    head = file.read(16)
    if not head.startswith(packets.JXL_BARE):
        boxes = _boxes(file, 0, file.seek(0, io.SEEK_END))
        box = next((box for box in boxes if box.kind in (b"jxlc", b"jxlp")), None)
        if box is None:
            raise ValueError("it holds no picture")
        file.seek(box.start + (4 if box.kind == b"jxlp" else 0))
        head = file.read(16)
    bits = int.from_bytes(head[2:], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (1 + take(5)) if small else 1 + take((9, 13, 18, 30)[take(2)])

    height = side()
    ratio = take(3)
    across, down = _RATIOS.get(ratio, (0, 1))
    return (height * across // down if ratio else side()), height


def _behind_offset(data: bytes) -> bytes:
    """EXIF in a box has before it how many bytes stand before it."""
    return data[4 + int.from_bytes(data[:4], "big") :]


def avif(file: BinaryIO) -> Metadata:
    """Of an AVIF picture: its items of the kinds Exif and XMP."""
    size = file.seek(0, io.SEEK_END)
    meta = next((box for box in _boxes(file, 0, size) if box.kind == b"meta"), None)
    if meta is None:
        raise ValueError("it is cut short")
    inside = {box.kind: box for box in _boxes(file, meta.start + 4, min(meta.end, size))}
    if not {b"iinf", b"iloc"} <= inside.keys():
        raise ValueError("it lists no items")
    lists = {kind: inside[kind] for kind in (b"iinf", b"iloc")}
    infos, places = (_held(file, box.start, box.end - box.start, MAX_INDEX) for box in lists.values())
    kinds = _kinds(infos)
    found, left = Metadata(), MAX_BYTES
    for item, extents in _extents(places, inside[b"idat"].start if b"idat" in inside else 0):
        if item in kinds:
            data = b""
            for start, length in extents:
                data += _held(file, start, length, left)
                left -= length
            if kinds[item] == b"Exif":
                found.exif = exif(_behind_offset(data))
            else:
                found.xmp = data
    return found


def _kinds(infos: bytes) -> dict[int, bytes]:
    """The items that are metadata, by their number."""
    kinds: dict[int, bytes] = {}
    file = io.BytesIO(infos)
    for box in _boxes(file, 6 if infos[:1] == b"\0" else 8, len(infos)):
        entry = infos[box.start : box.end]
        version = entry[0] if entry else 0
        if box.kind != b"infe" or version < 2:
            continue
        at = 6 if version == 2 else 8
        number, kind = int.from_bytes(entry[4:at], "big"), entry[at + 2 : at + 6]
        if kind == b"Exif" or (kind == b"mime" and b"\0application/rdf+xml\0" in entry[at + 6 :]):
            kinds[number] = kind
    return kinds


def _extents(places: bytes, idat: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each item's number, and where its pieces lie: start and length."""
    file = io.BytesIO(places)

    def number(size: int) -> int:
        return int.from_bytes(file.read(size), "big")

    version = number(1)
    number(3)
    sizes = number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(number(2 if version < 2 else 4)):
        if file.tell() >= len(places):
            raise ValueError("it is cut short")
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)  # of which file
        start = number(base) + (idat if method == 1 else 0)
        extents = []
        for _ in range(min(number(2), MAX_PARTS if offset + length else 1)):
            if version and index:
                number(index)
            extents.append((start + number(offset), number(length)))
        if method <= 1:
            yield item, extents
