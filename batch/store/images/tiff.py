"""TIFF: the directory in which EXIF stands in every format, read and written, and whole files written.

Files are written here and not by Pillow because libtiff holds the interpreter while it compresses (half a
second for 16 megapixels, in which the next image gets no step), and because Pillow gives EXIF's UserComment
a type with which A1111 cannot read it. Big-endian, as A1111 writes it.
"""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from batch.base.regular import TooLarge
from batch.store.images import deflate

_BYTE, _TEXT, _SHORT, _LONG, _UNDEFINED = 1, 2, 3, 4, 7
_LAYOUT = {_SHORT: "H", _LONG: "I"}
_HEADER = 8
_SIZES = {_SHORT: 2, _LONG: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value by its type; of the others one."""

_EXIF_DIRECTORY, USER_COMMENT, XMP, DESCRIPTION = 0x8769, 0x9286, 700, 0x010E
_DEFLATE, _UNCOMPRESSED, _HORIZONTAL = 8, 1, 2
_STRIP_BYTES = 2**18
"""Of pixels: small enough to stay in the cache between prediction and compression."""

Entry = tuple[int, int, bytes | Sequence[int]]
"""Tag, type, value."""


def exif(comment: bytes) -> bytes:
    """An EXIF block that holds a UserComment, without the ``Exif`` mark that JPEG puts before it."""
    return _head(_HEADER) + _with_exif([], comment, _HEADER)


def write(pixels: NDArray[np.uint8], compression: str, comment: bytes, xmp: bytes) -> bytes:
    """A TIFF file of ``height x width x 3`` pixels; ``compression`` is ``deflate`` or ``none``.

    A ``comment`` or ``xmp`` that is empty is left out.
    """
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_BYTES // (width * 3))
    strips = list(_strips(pixels, rows, compress=compression == "deflate"))
    sizes = [len(strip) for strip in strips]
    *starts, end = itertools.accumulate(sizes, initial=_HEADER)
    pad = end % 2  # a directory begins at an even offset
    entries: list[Entry] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [8, 8, 8]),
        (259, _SHORT, [_DEFLATE if compression == "deflate" else _UNCOMPRESSED]),
        (262, _SHORT, [2]),  # RGB
        (273, _LONG, starts),
        (277, _SHORT, [3]),  # samples a pixel
        (278, _LONG, [rows]),
        (279, _LONG, sizes),
        (284, _SHORT, [1]),  # the samples of a pixel stand together
    ]
    if xmp:
        entries.append((XMP, _BYTE, xmp))
    if compression == "deflate":
        entries.append((317, _SHORT, [_HORIZONTAL]))
    directory = _with_exif(entries, comment, end + pad) if comment else _directory(entries, end + pad)
    return b"".join([_head(end + pad), *strips, bytes(pad), directory])


def _strips(pixels: NDArray[np.uint8], rows: int, *, compress: bool) -> Iterator[bytes]:
    for top in range(0, len(pixels), rows):
        strip = np.ascontiguousarray(pixels[top : top + rows])
        if not compress:
            yield strip.tobytes()
            continue
        change = strip.copy()
        np.subtract(strip[:, 1:], strip[:, :-1], out=change[:, 1:])
        packer = deflate.packer()
        yield packer.compress(change.data) + packer.flush()


def _head(directory: int) -> bytes:
    return struct.pack(">2sHI", b"MM", 42, directory)


def _with_exif(entries: Sequence[Entry], comment: bytes, offset: int) -> bytes:
    """The directory at ``offset`` and the EXIF directory behind it."""
    pointed = [*entries, (_EXIF_DIRECTORY, _LONG, [0])]
    size = len(_directory(pointed, offset))
    pointed[-1] = (_EXIF_DIRECTORY, _LONG, [offset + size])
    return _directory(pointed, offset) + _directory([(USER_COMMENT, _UNDEFINED, comment)], offset + size)


def _directory(entries: Sequence[Entry], offset: int) -> bytes:
    """A directory that lies at ``offset``, with the values that are too long for it behind it."""
    behind = offset + 2 + 12 * len(entries) + 4
    table, values = [struct.pack(">H", len(entries))], []
    for tag, kind, value in sorted(entries, key=lambda entry: entry[0]):
        data = value if isinstance(value, bytes) else struct.pack(f">{len(value)}{_LAYOUT[kind]}", *value)
        where = data.ljust(4, b"\0")
        if len(data) > 4:
            where = struct.pack(">I", behind)
            values.append(data + bytes(len(data) % 2))
            behind += len(values[-1])
        table.append(struct.pack(">HHI", tag, kind, len(value)) + where)
    return b"".join([*table, bytes(4), *values])


MAX_FIELDS = 16 * 2**20
"""Bytes of all fields of a file. Thousands may name the same place, and take thousands of times its bytes."""


def fields(file: BinaryIO) -> dict[int, bytes]:
    """The texts in a file's first directory by their tags, its XMP packet, and its EXIF directory's UserComment.

    No other directory is looked at, so that none is looked at twice. Raises OSError and ValueError.
    """
    head = _read(file, 0, _HEADER).ljust(_HEADER, b"\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None:
        raise ValueError("it is no TIFF that is read here")
    first = _entries(file, order, struct.unpack(f"{order}I", head[4:])[0])
    pointer = first.get(_EXIF_DIRECTORY)
    inner = _entries(file, order, struct.unpack(f"{order}I", pointer[2])[0]) if pointer else {}
    _check_overlap(file, order, [*first.values(), *inner.values()])
    wanted = {tag: entry for tag, entry in first.items() if entry[0] == _TEXT or tag in (XMP, USER_COMMENT)}
    wanted |= {tag: entry for tag, entry in inner.items() if tag == USER_COMMENT}
    one_byte = {tag: entry for tag, entry in wanted.items() if entry[0] in (_BYTE, _TEXT, _UNDEFINED)}
    if sum(count for _, count, _ in one_byte.values()) > MAX_FIELDS:
        raise TooLarge("its metadata is too large")
    found = {}
    for tag, (_, count, value) in one_byte.items():
        data = value[:count] if count <= 4 else _read(file, struct.unpack(f"{order}I", value)[0], count)
        if len(data) == count:  # else its end is not there
            found[tag] = data
    return found


def _check_overlap(file: BinaryIO, order: str, entries: Sequence[tuple[int, int, bytes]]) -> None:
    """Refuse fields that lie on one another: thousands of them, each as large as the file, fill the memory."""
    end, total = file.seek(0, io.SEEK_END), 0
    for kind, count, value in entries:
        size = count * _SIZES.get(kind, 1)
        inside = size > 4 and struct.unpack(f"{order}I", value)[0] + size <= end
        total += size if inside else 0
    if total > end:
        raise TooLarge("its metadata claims more than the file has")


def _entries(file: BinaryIO, order: str, offset: int) -> Mapping[int, tuple[int, int, bytes]]:
    """A directory's entries by their tags: type, count, and the value or where it lies."""
    start = _read(file, offset, 2)
    table = _read(file, offset + 2, 12 * struct.unpack(f"{order}H", start)[0]) if len(start) == 2 else b""
    whole = table[: len(table) - len(table) % 12]
    return {tag: (kind, count, value) for tag, kind, count, value in struct.iter_unpack(f"{order}HHI4s", whole)}


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
