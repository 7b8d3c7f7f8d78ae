"""What YAML makes of a prompt without quotes: what it takes out of it, and what it reads instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

from batch.manifest.json_escapes import instead

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

_OURS = re.compile(r"\{\s*+[\"']?(?:file|text)[\"']?\s*+:")
"""A mapping that is meant as one."""

_FIELD = r"\{[\w.]++(?::\d++)?\}"
_BEGINS_WITH_FIELD = re.compile(
    rf"\s*((?:-\s++)*+[^\s:{{}}\[\]'\"#][^:{{}}\[\]'\"#]*+:\s++)({_FIELD}.*)", re.DOTALL
)
_HOLDS_FIELD = re.compile(
    rf"[{{,]\s*+([^\s:{{}}\[\]'\",][^:{{}}\[\]'\",]*+:\s++)((?:[^{{}}\[\]'\",]++|{_FIELD})++)"
)


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
    wrong = "" if _OURS.match(text) else _BEGINS.get(text[:1], "")
    if text[:1] in ("'", '"') and not _closed(text):
        wrong = "a quote at the beginning ends the text where it is closed"
    elif not wrong and not _OURS.match(text) and re.search(r":(\s|$)", text):
        wrong = "a ': ' makes a mapping of it"
    quoted = in_quotes(line)
    return f"{wrong}; put the prompt in quotes: {quoted}" if wrong and quoted else ""


def _closed(text: str) -> bool:
    """Whether a text in quotes is nothing else."""
    inner = r"'(?:[^']|'')*+'" if text[0] == "'" else r'"(?:[^"\\]|\\.)*+"'
    return re.fullmatch(inner + r"\s*(?:#.*)?", text, re.DOTALL) is not None


def field_in_quotes(line: str) -> str:
    """What to write where ``{prompt}`` of a style or ``{seed}`` of a template would be a mapping."""
    line = line[: 5 * _LETTERS]
    found = _BEGINS_WITH_FIELD.match(line)
    if found is None:
        values = _HOLDS_FIELD.finditer(line)
        found = next((match for match in values if re.search(_FIELD, match[2])), None)
    if found is None:
        return ""
    text = found[2].rstrip(", ").replace("'", "''")
    return f"braces begin a mapping; put the text in quotes: {found[1]}'{text}'"


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
    if "escape code" in str(error.problem) and (letter := instead(lines[at])):
        return at + 1, letter
    if open_still := _never_closed(error.context_mark, lines[: at + 1]):
        return begun + 1, open_still
    for number in dict.fromkeys((at, begun, at - 1)):
        if not 0 <= number < len(lines) or (number != at and _reads(lines[number])):
            continue
        why = why_not_text(lines[number]) or field_in_quotes(lines[number])
        if why:
            return number + 1, why
    for number in dict.fromkeys((min(begun, at), at)):
        if dash := re.match(r"\s*-([^\s-].{0,200})", lines[number]):
            return number + 1, f"the '-' of a list wants a blank behind it: - {dash[1]}"
    hint = "; check the indentation and the quotes" if "did not find expected" in detail else ""
    return at + 1, detail + hint


_CLOSES = {"[": "]", "{": "}"}


def _never_closed(begins: yaml.Mark | None, lines: Sequence[str]) -> str:
    """What to do about a bracket that none of the lines closes from where it stands; nothing where one does."""
    if begins is None or begins.line >= len(lines):
        return ""
    line = lines[begins.line]
    bracket, behind = line[begins.column : begins.column + 1], line[begins.column + 1 :].strip()
    rest = "\n".join([bracket + behind, *lines[begins.line + 1 :]])
    if bracket not in _CLOSES or rest.count(bracket) <= rest.count(_CLOSES[bracket]):
        return ""
    said = f"{_BEGINS[bracket]}; close it with {_CLOSES[bracket]}"
    # One that plainly goes on below is no prompt.
    is_list = not behind or behind.endswith(",")
    return said if is_list or not why_not_text(line) else f"{said}, or put the prompt in quotes: {in_quotes(line)}"


def _reads(line: str) -> bool:
    """Whether nothing is wrong with a line that stands alone."""
    if len(line) > 10 * _LETTERS or line.count("[") + line.count("{") > _LETTERS // 4:
        return False
    try:
        yaml.compose(line.strip(), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return False
    return True


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


_GOES_ON = re.compile(r"[,;:(\[{|<+&-]$|\bBREAK$")
_GOES_ON_WITH = (",", ";", ")", "]", "}", "|", "#", "//", "BREAK", "AND ")
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"))


def in_block(node: yaml.ScalarNode, lines: Sequence[str], *, alone: bool) -> Iterator[str]:
    """Where a text under ``|`` or ``>`` looks like several prompts; ``alone``: it is all that ``prompt`` holds."""
    if node.style not in ("|", ">"):
        return
    written = [
        line.strip() for line in lines[node.start_mark.line + 1 : node.end_mark.line + (node.end_mark.column > 0)]
    ]
    if node.style == "|":
        written = [line.strip() for line in str(node.value).split("\n")]
    written = [line for line in written if line]
    if written and all(line.startswith("- ") for line in written):
        many = "several lines are one prompt" if len(written) > 1 else "the '- ' is part of the prompt"
        yield f"{many}; leave out the '{node.style}' where each is a prompt"
    elif alone and node.style == "|" and len(written) > 1 and not _is_one_text(written):
        yield "several lines are one prompt; put '- ' before each and leave out the '|'"


def _is_one_text(lines: Sequence[str]) -> bool:
    """Whether lines plainly go on in the next."""
    return (
        any(_GOES_ON.search(line) for line in lines[:-1])
        or any(line.startswith(_GOES_ON_WITH) for line in lines[1:])
        or any(line.count(left) != line.count(right) for line in lines for left, right in _PAIRS)
    )


def anchored(node: yaml.Node, lines: Sequence[str]) -> str:
    """The name of the anchor (``&name``) before a value; nothing where there is none."""
    line = lines[node.start_mark.line] if node.start_mark.line < len(lines) else ""
    match = _ANCHOR.match(line, node.start_mark.column)
    return match[1] if match else ""


def aliased(text: str) -> frozenset[str]:
    """The names for which a ``*`` may stand in a text of YAML."""
    return frozenset(_ALIAS.findall(text))
