"""JSON lines: an object a line, whose keys are columns."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from batch.base.errors import ManifestError, Problem
from batch.manifest.document import TOO_DEEP, Place, Yaml
from batch.manifest.limits import DEPTH
from batch.manifest.rows import Table, TableRow, check_width


def read_json_lines(text: str, source: str) -> Table:
    """A table that names its columns in every row. Raises :class:`ManifestError` with every problem in it."""
    rows: list[TableRow] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(source, number, f"not a line of JSON: {json_reason(error)}"))
            continue
        wrong = _json_problem(cells, line)
        if wrong:
            problems.append(Problem(source, number, wrong))
            continue
        if isinstance(cells, str):
            cells = {"prompt": cells}
        if not isinstance(cells, dict):
            problems.append(Problem(source, number, 'an object is needed here: {"prompt": "…"}'))
            continue
        columns |= dict.fromkeys(cells)
        check_width(columns, Place(source, number))
        rows.append(TableRow(Place(source, number), cells))
    if not rows and not problems:
        problems.append(Problem(source, 0, "the file is empty"))
    if problems:
        raise ManifestError(problems)
    return Table(tuple(columns), tuple(rows), rows[0].place, typed=True)


def json_reason(error: Exception) -> str:
    """Why Python's reader takes a text for none."""
    if isinstance(error, RecursionError):
        return TOO_DEEP
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number has thousands of digits" if "integer string conversion" in str(error) else str(error)


_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def _json_problem(value: Yaml, line: str) -> str:
    """What JSON can write down and a manifest cannot hold."""
    if line.count("[") + line.count("{") > DEPTH and depth(value) > DEPTH:
        return TOO_DEEP
    if _HALF.search(line):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return "it holds half of a surrogate pair, which no file can hold"
    return ""


def depth(value: Yaml) -> int:
    """Lists and mappings inside one another.

    Without recursion: JSON's own reader goes deeper than Python's stack bears afterwards.
    """
    levels, inner = 0, [value]
    while inner:
        levels += 1
        held = [item for item in inner if isinstance(item, dict | list)]
        inner = [child for item in held for child in (item.values() if isinstance(item, dict) else item)]
    return levels


def _unique(pairs: list[tuple[str, Yaml]]) -> dict[str, Yaml]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
