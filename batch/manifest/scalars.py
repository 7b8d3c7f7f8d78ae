"""Plain scalars of YAML 1.2: ``no`` is a word, ``010`` is ten, ``1e-3`` is a number."""

from __future__ import annotations

import re
from collections.abc import Callable

from batch.manifest.limits import DIGITS

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], int | float]], ...] = (
    (_INT, int),
    (_BASED, lambda text: int(text, 0)),
    (_FLOAT, float),
)
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def core_scalar(text: str) -> str | int | float | bool | None:
    """A plain scalar under the YAML 1.2 core schema. Raises ``ValueError`` for a number of too many digits."""
    number = next((read for form, read in _NUMBERS if form.fullmatch(text)), None)
    if number is not None:
        if len(text) > DIGITS:
            raise ValueError(f"{text[:20]}… is a number of {len(text):,} digits; at most {DIGITS} are read")
        return number(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text.lower() == "true"
    return None if _NULL.fullmatch(text) else text
