"""Metadata as the formats beside PNG carry it: EXIF's UserComment and an XMP packet, both ways; JPEG XL's boxes.

The UserComment holds A1111's text, the packet the JSON. XMP has a namespace for a program's own data, is
UTF-8 and has no limit of size; EXIF has neither.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from xml.parsers import expat
from xml.sax.saxutils import escape

from batch.store.images.texts import JSON_KEY

NAMESPACE = "urn:run-batch:xmp:1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NOTE = "http://ns.adobe.com/xmp/note/"

_UNICODE = b"UNICODE\0"

SEGMENT = 65_533
"""Bytes that one segment of a JPEG file holds."""
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
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


MAX_PACKET = 4 * 2**20
"""Bytes of a packet that is looked at: ours is as long as a prompt twice."""

MAX_DEPTH = 100
"""Elements one inside the other. Ours stands three deep; the parser keeps a name for each that is open."""


class _Done(Exception):  # noqa: N818
    """All is known: the rest of a packet need not be parsed."""


class _Finder:
    """Keeps the text of the first element that is ours, up to an element inside it; no tree is built."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self._depth = 0
        self._inside = False

    def start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        if self._inside or self._depth > MAX_DEPTH:
            raise _Done
        self._inside = name == f"{NAMESPACE}{JSON_KEY}"

    def end(self, _name: str) -> None:
        self._depth -= 1
        if self._inside:
            raise _Done

    def characters(self, text: str) -> None:
        if self._inside:
            self.text.append(text)


def read_xmp(packet: bytes) -> str:
    """The JSON in a packet; empty when it holds none. A packet with entities of its own is not read."""
    # Its own name is in every packet of ours, and most packets are of others.
    if len(packet) > MAX_PACKET or NAMESPACE.encode() not in packet or b"<!" in packet:
        return ""
    finder, parser = _Finder(), expat.ParserCreate("utf-8", "")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = finder.start, finder.end
    parser.CharacterDataHandler = finder.characters
    try:
        parser.Parse(packet.decode("utf-8", "replace").strip("\0\ufeff \n"), True)
    except expat.ExpatError:
        return ""
    except _Done:
        pass
    return "".join(finder.text)


def jpeg_segments(packet: bytes) -> bytes:
    """The packet as segments of a JPEG file. One that is too long for a segment goes in parts (extended XMP)."""
    if len(packet) <= SEGMENT - len(XMP_MARK):
        return _segment(XMP_MARK + packet)
    guid = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    note = f"<note:HasExtendedXMP>{guid}</note:HasExtendedXMP>"
    head = _MORE_MARK + guid.encode() + struct.pack(">I", len(packet))
    step = SEGMENT - len(head) - 4
    parts = (
        _segment(head + struct.pack(">I", start) + packet[start : start + step])
        for start in range(0, len(packet), step)
    )
    return _segment(XMP_MARK + _packet(f'xmlns:note="{_NOTE}"', note)) + b"".join(parts)


def _segment(data: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


_HEAD = 32 + 4 + 4
"""Bytes before what a part holds: the hash of the packet, its length, where in it the part belongs."""


def join_extended(segments: Sequence[bytes]) -> bytes:
    """The packet that came in parts; empty when there is none or a part is missing."""
    parts = [data[len(_MORE_MARK) :] for data in segments if data.startswith(_MORE_MARK)]
    pieces = {
        int.from_bytes(part[_HEAD - 4 : _HEAD], "big"): part[_HEAD:]
        for part in parts
        if part[:32] == parts[0][:32] and len(part) > _HEAD
    }
    packet = b"".join(pieces[start] for start in sorted(pieces))
    whole = parts and hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode() == parts[0][:32]
    return packet if whole else b""


def jxl(codestream: bytes, exif: bytes, packet: bytes) -> bytes:
    """A JPEG XL picture in a container, the metadata before it so that a reader finds it at the start."""
    boxes = [(b"Exif", bytes(4) + exif)] if exif else []
    boxes += [(b"xml ", packet)] if packet else []
    boxes.append((b"jxlc", codestream))
    return b"".join([JXL_SIGNATURE, _box(b"ftyp", b"jxl \0\0\0\0jxl "), *(_box(*item) for item in boxes)])


def _box(kind: bytes, data: bytes) -> bytes:
    if len(data) + 8 < 2**32:
        return struct.pack(">I4s", len(data) + 8, kind) + data
    return struct.pack(">I4sQ", 1, kind, len(data) + 16) + data
