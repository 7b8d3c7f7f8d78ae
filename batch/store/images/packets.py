"""Metadata as the formats beside PNG carry it: EXIF's UserComment and an XMP packet, both ways; JPEG XL's boxes.

The UserComment holds A1111's text, the packet the JSON. XMP has a namespace for a program's own data, is
UTF-8 and has no limit of size; EXIF has neither.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    """The text of a UserComment, whoever wrote it, with the head that EXIF asks for or without; "" if none."""
    code, text = data[:8], data[8:]
    if code == _UNICODE:
        return _utf16(text) if b"\0" in text else text.decode("utf-8", "replace")  # some write UTF-8 behind it
    if code in (b"ASCII\0\0\0", bytes(8)):
        return text.decode("utf-8", "replace").rstrip("\0 ")
    found = _utf16(data) if b"\0" in data.rstrip(b"\0") else data.decode("utf-8", "replace").rstrip("\0 ")
    return "" if _NO_TEXT.search(found) else found


_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\ufffd]")
"""In no text: what a camera wrote is none."""


def _utf16(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").rstrip("\0")
    # EXIF leaves the byte order open. The Latin letters of any A1111 text give it away.
    big = data[0::2].count(0) >= data[1::2].count(0)
    return data.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")


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
    """Keeps the texts of the first element of each name that is sought; no tree is built.

    A text may stand in the element itself or, as RDF has it for several languages, in the first item of a list.
    """

    def __init__(self, sought: Mapping[str, str]) -> None:
        self.texts: dict[str, str] = {}
        self._sought = sought
        self._depth = 0
        self._inside = ""
        self._parts: list[str] = []

    def start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Done
        if self._inside and name not in _LISTS:
            self._keep()
        elif name in self._sought and self._sought[name] not in self.texts:
            self._inside, self._parts = name, []

    def end(self, name: str) -> None:
        self._depth -= 1
        if self._inside and name in (self._inside, f"{_RDF}li"):
            self._keep()

    def characters(self, text: str) -> None:
        if self._inside:
            self._parts.append(text)

    def _keep(self) -> None:
        text = "".join(self._parts)
        self.texts[self._sought[self._inside]] = text if self._inside.startswith(NAMESPACE) else text.strip()
        self._inside = ""
        if len(self.texts) == len(self._sought):
            raise _Done


_LISTS = {f"{_RDF}{name}" for name in ("Alt", "Seq", "Bag", "li")}

_OURS = {f"{NAMESPACE}{JSON_KEY}": JSON_KEY}

_OTHERS = {
    "http://ns.adobe.com/exif/1.0/UserComment": "UserComment",
    "http://purl.org/dc/elements/1.1/description": "description",
}
"""Where Draw Things and editors of pictures keep what others wrote."""


def read_xmp(packet: bytes) -> Mapping[str, str]:
    """The texts in a packet: our JSON, or those of others. A packet with entities of its own is not read."""
    ours = NAMESPACE.encode() in packet
    if len(packet) > MAX_PACKET or b"<!" in packet:
        return {}
    if not ours and not any(name.encode() in packet for name in _OTHERS.values()):
        return {}
    finder, parser = _Finder(_OURS if ours else _OTHERS), expat.ParserCreate("utf-8", "")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = finder.start, finder.end
    parser.CharacterDataHandler = finder.characters
    with suppress(expat.ExpatError, _Done):
        parser.Parse(packet.decode("utf-8", "replace").strip("\0\ufeff \n"), True)
    return {key: text for key, text in finder.texts.items() if text}


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
