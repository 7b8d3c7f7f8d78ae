"""What YAML makes of a prompt without quotes: what it takes out of it, and what it reads instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

_LETTERS = 200
_KEYS = r"prompt|negative_prompt|text|prompt_prefix|prompt_suffix"
_LINE = re.compile(rf"((?:-\s++)*+)((?:{_KEYS})\s*+:(?:\s++|$))?(.*)", re.DOTALL)
_KEYED = re.compile(r"\s*+[\w.-]++\s*+:(?:\s|$)")

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
    match = _LINE.fullmatch(line.strip())
    assert match is not None  # it takes any line
    dashes, key, text = match.groups()
    if not text or (not dashes and not key and _KEYED.match(line)):
        return ""
    text = text[:_LETTERS] + ("…" if len(text) > _LETTERS else "")
    return f"{dashes}{key or ''}'" + text.replace("'", "''") + "'"


def why_not_text(line: str) -> str:
    """Why YAML does not read the text of a line as one, and what to write; nothing where it would."""
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
    behind = lines[end.line][end.column :]
    comment = behind.lstrip()
    # Two spaces before and one behind are how a comment is written on purpose.
    if comment.startswith("#") and not re.match(r"\s{2,}#(\s|$)", behind):
        quoted = in_quotes(lines[end.line])
        yield f"{comment[:_LETTERS]} is a comment, and no part of the prompt; put the prompt in quotes: {quoted}"
    if begin.line != end.line:
        text = str(node.value)
        short = text[:_LETTERS] + ("…" if len(text) > _LETTERS else "")
        yield f"several lines are one prompt: '{short}'; put it in quotes, or a '- ' before each prompt"


def anchored(node: yaml.Node, lines: Sequence[str]) -> str:
    """The anchor (``&name``) before a value; nothing where there is none."""
    line = lines[node.start_mark.line] if node.start_mark.line < len(lines) else ""
    match = re.match(r"&[^\s,\[\]{}]+", line[node.start_mark.column :])
    return match[0] if match else ""
