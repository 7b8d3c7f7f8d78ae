"""The store behind the fast path: files as the chunks of xorbs, in the form that the real hf_xet client reads.

The client asks what a range of a file is made of, gets terms (each of them all the chunks of a xorb) and where the
xorbs lie, and unpacks them. Names are trees of hashes in truth; the client takes them as they are given.
"""

from __future__ import annotations

import hashlib

CHUNK = 2**16
XORB = 8 * CHUNK
"""Bytes of a file in one xorb: few, so that a file of some MB comes in several."""


def name_of(data: bytes) -> str:
    """What a file or a xorb is called in the store."""
    return hashlib.sha256(b"xet" + data).hexdigest()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def xorbs(data: bytes) -> dict[str, bytes]:
    """The xorbs of a file as they are sent, by name."""
    return {name_of(piece): b"".join(map(_chunk, pieces(piece, CHUNK))) for piece in pieces(data, XORB)}


def _chunk(data: bytes) -> bytes:
    """Version, length, how it is compressed (it is not), length without that, and what it holds."""
    length = len(data).to_bytes(3, "little")
    return b"\0" + length + b"\0" + length + data


def terms(data: bytes, first: int, last: int, url: str) -> dict | None:
    """What bytes of a file, ends included, are made of; None where it ends before them. Xorbs lie at url."""
    if first >= len(data):
        return None
    found, places = [], {}
    for piece in pieces(data, XORB)[first // XORB : last // XORB + 1]:
        name, chunks = name_of(piece), {"start": 0, "end": len(pieces(piece, CHUNK))}
        found.append({"hash": name, "unpacked_length": len(piece), "range": chunks})
        sent = {"start": 0, "end": len(xorbs(piece)[name]) - 1}
        places[name] = [{"range": chunks, "url": f"{url}/{name}", "url_range": sent}]
    return {"offset_into_first_range": first % XORB, "terms": found, "fetch_info": places}
