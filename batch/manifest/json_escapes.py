"""Letters that JSON writes as two escapes, which YAML does not know."""

from __future__ import annotations

import json
import re

_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")
_HALF = re.compile(r"\\u[Dd][89A-Fa-f][0-9A-Fa-f]{2}")


def joined(text: str) -> str:
    r"""A document that is JSON with every surrogate pair (``\ud83e\udd8a``) as the letter that it is.

    Any other document is left as it is: outside of JSON these may be no escapes.
    """
    if not _PAIR.search(text):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _PAIR.sub(_letter, text)


def instead(line: str) -> str:
    r"""Why YAML does not read a line with such a pair in quotes, and what to write; "" where it has none."""
    found = _PAIR.search(line)
    if found is None:
        half = _HALF.search(line)
        return f"{half[0]} is half of a letter, and no escape of YAML; write the letter itself" if half else ""
    pair, letter = found[0][len(found[1]) :], _letter(found)[len(found[1]) :]
    return rf"{pair} is how JSON writes a letter; write the letter itself, {letter}, or \U{ord(letter):08X}"


def _letter(found: re.Match[str]) -> str:
    pair = b"".join(int(half, 16).to_bytes(2, "big") for half in found.groups()[1:])
    return found[1] + pair.decode("utf-16-be")
