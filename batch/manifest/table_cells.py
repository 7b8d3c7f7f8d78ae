"""The values of one cell of a table of texts, as a spreadsheet may have written them."""

from __future__ import annotations

from collections.abc import Iterator

from batch.manifest.document import Yaml, parse
from batch.manifest.scalars import core_scalar
from batch.manifest.slips import EXPONENT, decimal_comma, looks_rounded, plain_blanks, truth
from batch.manifest.values import shown

_WHOLE = ("seed", "steps")
Remark = tuple[str, str]
"""Its kind and what it says."""


def read_cell(name: str, cell: str, *, comma: bool) -> tuple[list[Yaml], list[Remark]]:
    """The values of a cell in a column that is no text, parted at ``|``, and what is to be said of them.

    ``comma``: no comma parts the cells of this file, so one in a number is its decimal point.
    Raises ``ValueError``.
    """
    remarks: list[Remark] = []
    items: list[Yaml] = []
    for part in (part.strip() for part in plain_blanks(cell).split("|")):
        remarks += _remarks(name, part)
        point = decimal_comma(part) if comma and (name == "guidance" or name.startswith("extra.")) else ""
        if point:
            remarks.append(
                ("comma", f"decimal commas are read as points: {part} is {point}; several values are 4|5")
            )
        items.append(_value(name, point or part))
    return items, remarks


def _remarks(name: str, part: str) -> Iterator[Remark]:
    if name == "seed" and looks_rounded(part):
        yield (
            "rounded",
            f"{shown(part)[1:-1]} ends in zeros, as a spreadsheet leaves of a number of more than 15 digits; "
            "if it has done so, format the column as text and enter it anew",
        )


def _value(name: str, part: str) -> Yaml:
    if part.startswith(("{", "[")):
        return parse(part, "cell").data
    if name in _WHOLE and EXPONENT.fullmatch(part):
        return part  # digits are lost even where it is a whole number again
    if name.startswith("extra.") and (wrong := truth(part)):
        raise ValueError(wrong)
    return core_scalar(part)
