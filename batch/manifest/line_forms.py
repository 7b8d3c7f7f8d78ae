"""Lines of a list of prompts that are none, or are dressed as in another kind of file.

Both would reach the model as they stand. What is no prompt for sure is an error; what may be meant is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from batch.base.errors import Problem
from batch.manifest.axes import AXES, folded
from batch.manifest.document import Place
from batch.manifest.values import shortened

Line = tuple[str, Place]

_SETTINGS = re.compile(r"Steps:\s*\d+,\s*[A-Z][\w ]*:")
_NO_PROMPT = re.compile(
    rf"(?P<data>negative prompt:|{_SETTINGS.pattern}|(?:steps|seed|cfg scale)\s*:\s*[\d.]+,?$)"
    r"|(?P<label>(?:positive|negative)(?:[ _]prompt\s*:|\s*:(?!\S)))"
    r"|(?P<rule>(?:[-=_*~+]{3,}|`{3,}\w*)$)",
    re.IGNORECASE,
)
"""``(?!\\S)``: ``negative:space`` is a word of a prompt."""

_OWN = 'write a line for each: --prompt "…" --negative_prompt "…"'


def no_prompts(lines: Sequence[Line], path: str) -> list[Problem]:
    """The lines that are parts of generation data, as programs keep it of a picture: of each kind the first."""
    matches = ((_NO_PROMPT.match(line[0]), line) for line in lines)
    found = _first_of_kinds((match.lastgroup or "", line) for match, line in matches if match)
    reads = ""
    if "data" in found and any(_SETTINGS.match(text) for text, _ in lines):
        reads = f"`run_batch.py manifest from {path}` reads it, or "
    said = {
        "data": f"this is generation data; {reads}{_OWN}",
        "label": f"this is generation data; {_OWN}",
        "rule": "such a line parts nothing here; remove it",
    }
    return [
        Problem(*place, f"{shortened(text)}: {said[kind]}{more(count)}")
        for kind, (text, place, count) in found.items()
    ]


class _Form(NamedTuple):
    form: str
    what: str
    instead: str


_FORMS: dict[str, _Form] = {
    "comment": _Form(r"//", "the comment is text", "begin it with #"),
    "command": _Form(r"/\w+(?:\s+prompt:)?\s", "the command is text", "remove it"),
    "dash": _Form(
        rf"[\u2013\u2014]{{1,2}}(?:{'|'.join(AXES)}|styles|cfg_scale|sampler_name|width|height)\s",
        "a word processor has made one dash of two, and the option is text",
        "write two hyphens: --prompt",
    ),
    "bullet": _Form(r"[-*+•◦‣·–—]\s+\S", "the mark of a list is text", "remove it"),
    "number": _Form(r"(?:\d{1,5}[.)]|\(\d{1,5}\))\s+\S", "the number is text", "remove it"),
    "label": _Form(r"prompt\s*+#?\d*+\s*+[:=]\s*\S", "the label is text", "remove it"),
    "list": _Form(
        r'\[$|\],?$|\{$|\},?$|\[\s*"|\{\s*"|"[^"]*",$|"[^"]*"\s*\],?$',
        "brackets, quotes and commas of JSON are text",
        "remove them, or save it as .jsonl: a text in quotes a line, without brackets or commas",
    ),
    "quoted": _Form(r'"[^"]*"$|[“„”][^“”„]*[“”]$', "the quotes are text", "remove them, or save it as .csv"),
    "table": _Form(r"\|.*\|$|.*\|\|$", "the bars are text", "remove them"),
}  # fmt: skip
_READ = {kind: re.compile(found.form, re.IGNORECASE) for kind, found in _FORMS.items()}
_ENDS = tuple('|",]')


def dressed(lines: Iterable[Line]) -> Iterator[Problem]:
    """What is to be told of lines that no prompt is meant to have: of each kind the first."""
    numbered = list(lines)
    if numbered and (said := _column_names(numbered[0][0])):
        yield Problem(*numbered.pop(0)[1], said)
    kinds = ((kind, line) for line in numbered if (kind := _dress(line[0])))
    for kind, (text, place, count) in _first_of_kinds(kinds).items():
        said = f"{_FORMS[kind].what}; {_FORMS[kind].instead}"
        yield Problem(*place, f"{shortened(text)}: {said}{more(count)}")


def _dress(text: str) -> str:
    """The kind of a line; most begin with a letter and are not searched."""
    if text[0].isalpha() and not text.endswith(_ENDS) and text[:6].lower() != "prompt":
        return ""
    return next((kind for kind, form in _READ.items() if form.match(text)), "")


def _column_names(line: str) -> str:
    """A first line that is the header of a table."""
    names = re.split(r"[,;\t]", line) if len(line) < 1_000 else []
    if "prompt" not in map(folded, names) or not all(folded(name) in AXES for name in names):
        return ""
    return f"{shortened(line)}: names of columns are text in a .txt file; " + (
        "save it as .csv, and write rows: {file: …}" if len(names) > 1 else "remove the line, or save it as .csv"
    )


def _first_of_kinds(found: Iterable[tuple[str, Line]]) -> dict[str, tuple[str, Place, int]]:
    """By kind the first text, its place, and how many there are."""
    kinds: dict[str, tuple[str, Place, int]] = {}
    for kind, line in found:
        text, place, count = kinds.get(kind, (*line, 0))
        kinds[kind] = (text, place, count + 1)
    return kinds


def more(count: int) -> str:
    """How many there are beside the one that is told, to be put behind it."""
    return f" ({count - 1:,} more like this)" if count > 1 else ""
