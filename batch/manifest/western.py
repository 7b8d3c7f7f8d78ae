"""Files that a spreadsheet or an old editor in the west has saved in its own encoding."""

from __future__ import annotations

import re

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import decode_text
from batch.manifest.values import shown

_NOT_WESTERN = re.compile(rb"[\xc0-\xff]{3}|[\xa1-\xff]{4}|[\x00-\x08\x0e-\x1f\xff]|\x83(?!/)")
"""Letters with marks do not stand three in a row, as those of a Cyrillic text do; the rest is no text."""


def decode_western(raw: bytes, source: str) -> tuple[str, tuple[Problem, ...]]:
    """The text of a file as :func:`decode_text` has it, or as Windows-1252, which is then to be told.

    Raises :class:`ManifestError` for what is neither, nor can be told to be.
    """
    try:
        return decode_text(raw, source), ()
    except ManifestError as error:
        found = _western(raw)
        if not found:
            raise
        line = error.problems[0].line
    example = next((word for word in found.split("\n")[line - 1].split() if not word.isascii()), "")
    said = f"not UTF-8, but read as Windows-1252: {shown(example)}; save it as UTF-8 if that is wrong"
    return found, (Problem(source, line, said),)


def _western(raw: bytes) -> str:
    """Nothing for a binary file, another encoding, or a file that is UTF-8 in other places."""
    if _NOT_WESTERN.search(raw) or not raw.decode(errors="ignore").isascii():
        return ""
    try:
        return raw.decode("cp1252").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return ""
