"""What YAML makes of a prompt without quotes: what it takes out of it, and what it reads instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

_LETTERS = 200
_SLICE = 1_000
"""Letters of a line that are looked at for what to write; a program may write all prompts into one line."""
_BY_HAND = 10_000
"""Letters of the longest line that somebody may have written by hand."""
_KEYS = r"prompt|negative_prompt|text|prompt_prefix|prompt_suffix"
_LINE = re.compile(rf"((?:-\s++)*+)((?:{_KEYS})\s*+:(?:\s++|$))?(.*)", re.DOTALL)
_KEYED = re.compile(r"\s*+[\w.-]++\s*+:(?:\s|$)")
_SPACES = re.compile(r"\s*+")
_COMMENT_ON_PURPOSE = re.compile(r"\s{2,}+#(\s|$)")
"""Two spaces before and one behind."""
_ANCHOR = re.compile(r"&([^\s,\[\]{}]+)")
_ALIAS = re.compile(r"\*([^\s,\[\]{}]+)")

_BEGINS = {
    "@": "@ begins no text",
    "`": "` begins no text",
    "%": "% begins no text",
    "&": "& names a value",
    "*": "* stands for a value that & has named",
    "!": "! begins a type",
    "{": "{ begins a mapping",
    "[": "[ begins a list",
    "|": "| begins a text on the lines below",
    ">": "> begins a text on the lines below",
    "?": "'? ' begins a key",
}


def in_quotes(line: str) -> str:
    """A line of YAML with its text in quotes; nothing where none of it can be a prompt."""
    line = _begin(line)
    match = _LINE.fullmatch(line)
    assert match is not None  # it takes any line
    dashes, key, text = match.groups()
    if not text or (not dashes and not key and _KEYED.match(line)):
        return ""
    text = text[:_LETTERS] + ("…" if len(text) > _LETTERS else "")
    return f"{dashes}{key or ''}'" + text.replace("'", "''") + "'"


def _begin(line: str) -> str:
    """A line without the spaces around it, as far as it is looked at."""
    start = _at(_SPACES, line, 0)
    return line[start : start + _SLICE].rstrip()


def _at(pattern: re.Pattern[str], line: str, column: int) -> int:
    """Where what a pattern takes at a column ends."""
    match = pattern.match(line, column)
    return match.end() if match else column


def why_not_text(line: str) -> str:
    """Why YAML does not read the text of a line as one, and what to write; nothing where it would.

    Nor for a line so long that no one has written it by hand.
    """
    if len(line) > _BY_HAND:
        return ""
    match = _LINE.fullmatch(line.strip())
    text = match[3] if match else ""
    if re.match(r"\s*-\s+-\s", line):
        return "two dashes make a list inside the list; keep one"
    wrong = _BEGINS.get(text[:1], "")
    if text[:1] in ("'", '"') and not _closed(text):
        wrong = "a quote at the beginning ends the text where it is closed"
    elif not wrong and re.search(r":(\s|$)", text):
        wrong = "a ': ' makes a mapping of it"
    quoted = in_quotes(line)
    return f"{wrong}; put the prompt in quotes: {quoted}" if wrong and quoted else ""


def _closed(text: str) -> bool:
    """Whether a text in quotes is nothing else."""
    inner = r"'(?:[^']|'')*+'" if text[0] == "'" else r'"(?:[^"\\]|\\.)*+"'
    return re.fullmatch(inner + r"\s*(?:#.*)?", text, re.DOTALL) is not None


def syntax_error(error: yaml.MarkedYAMLError, lines: Sequence[str]) -> tuple[int, str]:
    """The line of an error, from 1, or 0; and what is wrong, in words for who has written it."""
    mark = error.problem_mark or error.context_mark
    detail = " ".join(filter(None, (error.context, error.problem)))
    if mark is None:
        return 0, detail
    at = max(0, min(mark.line, len(lines) - 1))
    begun = error.context_mark.line if error.context_mark else at
    if re.match(r"[ -]*\t", lines[at]):
        return at + 1, "a tab indents here; YAML takes spaces alone"
    if "unknown escape" in str(error.problem):
        return at + 1, f"a backslash in double quotes begins a sign; use single ones: {_single(lines[at])}"
    for number in dict.fromkeys((at, begun, at - 1)):
        why = why_not_text(lines[number]) if 0 <= number < len(lines) else ""
        if why:
            return number + 1, why
    hint = "; check the indentation and the quotes" if "did not find expected" in detail else ""
    return at + 1, detail + hint


def _single(line: str) -> str:
    return line.strip().replace("'", "''").replace('"', "'")[:_LETTERS]


def eaten(node: yaml.ScalarNode, lines: Sequence[str]) -> Iterator[str]:
    """What a prompt without quotes has lost, or gained, on its way through YAML."""
    if node.style in ("|", ">", "'", '"') or not lines:
        return
    begin, end = node.start_mark, node.end_mark
    if end.line >= len(lines):
        return
    line = lines[end.line]
    comment = _at(_SPACES, line, end.column)
    if line.startswith("#", comment) and not _COMMENT_ON_PURPOSE.match(line, end.column):
        said = line[comment : comment + _LETTERS]
        yield f"{said} is a comment, and no part of the prompt; put the prompt in quotes: {in_quotes(line)}"
    if begin.line != end.line:
        text = str(node.value)
        short = text[:_LETTERS] + ("…" if len(text) > _LETTERS else "")
        yield f"several lines are one prompt: '{short}'; put it in quotes, or a '- ' before each prompt"


def anchored(node: yaml.Node, lines: Sequence[str]) -> str:
    """The name of the anchor (``&name``) before a value; nothing where there is none."""
    line = lines[node.start_mark.line] if node.start_mark.line < len(lines) else ""
    match = _ANCHOR.match(line, node.start_mark.column)
    return match[1] if match else ""


def aliased(text: str) -> frozenset[str]:
    """The names for which a ``*`` may stand in a text of YAML."""
    return frozenset(_ALIAS.findall(text))
