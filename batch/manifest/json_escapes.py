"""Letters that JSON writes as two escapes, which YAML does not know."""

from __future__ import annotations

import json
import re

_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})")


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


def _letter(found: re.Match[str]) -> str:
    pair = b"".join(int(half, 16).to_bytes(2, "big") for half in found.groups()[1:])
    return found[1] + pair.decode("utf-16-be")
