"""Where image files keep their metadata: the chunks of PNG and WebP, the segments of JPEG, TIFF's directory.

They are walked here and not by Pillow, which decodes pixels on the way to what stands behind them, and reads every
field of a directory: thousands that name one place fill the memory. Each function takes an open file that begins
as its format does, and raises OSError or ValueError where that is damaged. What is cut off behind the metadata is
no damage.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from batch.base.regular import TooLarge
from batch.store.images import packets, tiff

MAX_BYTES = 64 * 2**20
"""Of metadata in one file."""

MAX_TEXT = 4 * 2**20
"""Bytes that one compressed text may become."""

MAX_PARTS = 2**18
"""Chunks, segments or boxes of one file: a picture of two gigabytes in PNG's usual 8 KiB."""

XMP_KEY = "XML:com.adobe.xmp"
_EXIF_MARK = b"Exif\0\0"


@dataclass(slots=True)
class Metadata:
    """What was found, not yet understood."""

    exif: Mapping[int, bytes] = field(default_factory=dict)
    """As :func:`batch.store.images.tiff.fields` gives it."""
    xmp: bytes = b""
    texts: dict[str, str] = field(default_factory=dict)
    """Of PNG, by key; of JPEG ``comment``."""


class Reader:
    """Reads parts of a file one after the other, and no more of them and of their bytes than there may be."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._parts = 0
        self._bytes = 0
        file.seek(start)

    def head(self, size: int) -> bytes:
        """The head of the next part; shorter than ``size`` where there is none."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise TooLarge("it has too many parts")
        return self._file.read(size)

    def body(self, size: int) -> bytes:
        """What a part holds."""
        self._bytes += size
        if self._bytes > MAX_BYTES:
            raise TooLarge("its metadata is too large")
        data = self._file.read(size)
        if len(data) < size:
            raise ValueError("it is cut short")
        return data

    def skip(self, size: int) -> None:
        """Past what is not wanted, be it behind the end."""
        self._file.seek(min(size, 2**48), 1)


def exif(data: bytes) -> Mapping[int, bytes]:
    """The fields of an EXIF block, which is a TIFF file without pixels."""
    return tiff.fields(io.BytesIO(data.removeprefix(_EXIF_MARK)))


def png(file: BinaryIO) -> Metadata:
    """Texts before the pixels, or where there are none there, behind them."""
    found, reader = Metadata(), Reader(file, 8)
    while len(head := reader.head(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IEND" or (kind == b"IDAT" and found.texts):
            return found
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            data = reader.body(size)
            if reader.body(4) != struct.pack(">I", zlib.crc32(kind + data)):
                raise ValueError("a chunk is damaged")
            _keep(found, kind, data)
        else:
            reader.skip(size + 4)
    if not found.texts:
        raise ValueError("it is cut short")
    return found


def _keep(found: Metadata, kind: bytes, data: bytes) -> None:
    if kind == b"eXIf":
        found.exif = exif(data)
        return
    name, _, rest = data.partition(b"\0")
    key = name.decode("latin-1")
    if kind == b"tEXt":
        text = rest.decode("latin-1")
    elif kind == b"zTXt":
        text = _unpacked(rest[1:]).decode("latin-1")
    else:
        packed, (_, _, value) = rest[:1] == b"\1", _three(rest[2:])
        text = (_unpacked(value) if packed else value).decode("utf-8", "replace")
    if key == XMP_KEY:
        found.xmp = text.encode()
    else:
        found.texts[key] = text


def _three(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Language, key in that language, text."""
    language, _, rest = data.partition(b"\0")
    translated, _, text = rest.partition(b"\0")
    return language, translated, text


def _unpacked(data: bytes) -> bytes:
    packer = zlib.decompressobj()
    try:
        text = packer.decompress(data, MAX_TEXT + 1)
    except zlib.error as error:
        raise ValueError(f"a text is damaged ({error})") from None
    if len(text) > MAX_TEXT:
        raise TooLarge("a text is too large")
    return text


def jpeg(file: BinaryIO) -> Metadata:
    """EXIF, XMP and a comment from the segments before the pixels."""
    found, reader = Metadata(), Reader(file, 2)
    blocks: list[bytes] = []
    others: list[bytes] = []
    while len(head := reader.head(2)) == 2 and head[0] == 0xFF and head[1] not in (0xD9, 0xDA):
        if head[1] == 0xFF:  # bytes that fill
            reader.skip(-1)
            continue
        size = int.from_bytes(reader.head(2), "big") - 2
        if size < 0:
            raise ValueError("a segment is damaged")
        if head[1] not in (0xE1, 0xFE):
            reader.skip(size)
            continue
        data = reader.body(size)
        if head[1] == 0xFE:  # where editors of pictures put what they found
            found.texts["comment"] = data.decode("utf-8", "replace")
            continue
        if data.startswith(_EXIF_MARK):
            blocks.append(data[len(_EXIF_MARK) :])
        elif data.startswith(packets.XMP_MARK):
            found.xmp = data[len(packets.XMP_MARK) :]
        else:
            others.append(data)
    found.exif = exif(b"".join(blocks)) if blocks else {}
    found.xmp = packets.join_extended(others) or found.xmp
    return found


def webp(file: BinaryIO) -> Metadata:
    """EXIF and XMP, which stand behind the pixels."""
    found, reader, kinds = Metadata(), Reader(file, 12), set()
    while len(head := reader.head(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        kinds.add(kind)
        if kind == b"EXIF":
            found.exif = exif(reader.body(size))
        elif kind == b"XMP ":
            found.xmp = reader.body(size)
        else:
            reader.skip(size)
        reader.skip(size % 2)
    if not kinds & {b"VP8 ", b"VP8L", b"VP8X"}:
        raise ValueError("it is cut short")
    return found


def tiff_file(file: BinaryIO) -> Metadata:
    """The file itself is what EXIF is in the others."""
    fields = tiff.fields(file)
    return Metadata(exif=fields, xmp=fields.get(tiff.XMP, b""))
