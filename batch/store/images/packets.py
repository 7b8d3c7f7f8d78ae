"""Metadata as the formats beside PNG carry it: EXIF's UserComment, an XMP packet, boxes of JPEG XL. Both ways.

The UserComment holds A1111's text, the packet the JSON. XMP has a namespace for a program's own data, is
UTF-8 and has no limit of size; EXIF has neither.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from batch.store.images.texts import JSON_KEY

NAMESPACE = "urn:run-batch:xmp:1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NOTE = "http://ns.adobe.com/xmp/note/"

_UNICODE = b"UNICODE\0"

SEGMENT = 65_533
"""Bytes that one segment of a JPEG file holds."""
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_MARK = b"http://ns.adobe.com/xmp/extension/\0"

JXL_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_BARE = b"\xff\x0a"
"""How a JPEG XL picture begins that has no boxes, and so no metadata."""


def comment(text: str) -> bytes:
    """A UserComment as A1111 writes it: UTF-16, big-endian, no byte order mark."""
    return _UNICODE + text.encode("utf-16-be")


def read_comment(data: bytes) -> str:
    """The text of a UserComment, whoever wrote it; empty when there is none."""
    code, text = data[:8], data[8:]
    if code == _UNICODE:
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return text.decode("utf-16", "replace")
        # EXIF leaves the byte order open. The Latin letters of any A1111 text give it away.
        big = text[0::2].count(0) >= text[1::2].count(0)
        return text.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")
    if code in (b"ASCII\0\0\0", bytes(8)):
        return text.decode("utf-8", "replace").rstrip("\0 ")
    return ""


def xmp(json_text: str) -> bytes:
    """A packet that holds the JSON. JSON escapes every control character that XML forbids."""
    return _packet(f'xmlns:run="{NAMESPACE}"', f"<run:{JSON_KEY}>{escape(json_text)}</run:{JSON_KEY}>")


def _packet(names: str, inside: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about="" {names}>{inside}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def read_xmp(packet: bytes) -> str:
    """The JSON in a packet; empty when it holds none. A packet with entities of its own is not read."""
    text = packet.decode("utf-8", "replace").strip("\0\ufeff \n")
    if "<!" in text:
        return ""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return ""
    return root.findtext(f".//{{{NAMESPACE}}}{JSON_KEY}") or ""


def jpeg_segments(packet: bytes) -> bytes:
    """The packet as segments of a JPEG file. One that is too long for a segment goes in parts (extended XMP)."""
    if len(packet) <= SEGMENT - len(_XMP_MARK):
        return _segment(_XMP_MARK + packet)
    guid = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    note = f"<note:HasExtendedXMP>{guid}</note:HasExtendedXMP>"
    head = _MORE_MARK + guid.encode() + struct.pack(">I", len(packet))
    step = SEGMENT - len(head) - 4
    parts = (
        _segment(head + struct.pack(">I", start) + packet[start : start + step])
        for start in range(0, len(packet), step)
    )
    return _segment(_XMP_MARK + _packet(f'xmlns:note="{_NOTE}"', note)) + b"".join(parts)


def _segment(data: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


def join_extended(segments: list[bytes]) -> bytes:
    """The packet that came in parts; empty when there is none or a part is missing."""
    parts = [data[len(_MORE_MARK) :] for data in segments if data.startswith(_MORE_MARK)]
    pieces = {struct.unpack(">I", part[36:40])[0]: part[40:] for part in parts if part[:32] == parts[0][:32]}
    packet = b"".join(pieces[start] for start in sorted(pieces))
    whole = parts and hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() == parts[0][:32]
    return packet if whole else b""


def jxl(codestream: bytes, exif: bytes, packet: bytes) -> bytes:
    """A JPEG XL picture in a container, the metadata before it so that a reader finds it at the start."""
    boxes = ((b"Exif", bytes(4) + exif), (b"xml ", packet), (b"jxlc", codestream))
    return b"".join([JXL_SIGNATURE, _box(b"ftyp", b"jxl \0\0\0\0jxl "), *(_box(*item) for item in boxes)])


def _box(kind: bytes, data: bytes) -> bytes:
    if len(data) + 8 < 2**32:
        return struct.pack(">I4s", len(data) + 8, kind) + data
    return struct.pack(">I4sQ", 1, kind, len(data) + 16) + data


def jxl_boxes(file: BinaryIO, wanted: set[bytes], limit: int) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of those kinds in an open JPEG XL container. Raises ValueError at one larger than ``limit``."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if size == 1:
            size = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0] - 8
        if size and size < 8:
            raise ValueError("a box is damaged")
        if kind in wanted:
            if size - 8 > limit:
                raise ValueError("its metadata is too large")
            data = file.read(size - 8 if size else limit)
            if len(data) < size - 8:
                raise ValueError("it is cut short")
            yield kind, data
        elif size:
            file.seek(size - 8, 1)
        if not size:  # the last box reaches to the end of the file
            return
