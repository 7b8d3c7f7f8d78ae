"""The words of the grammar of variants, and what each of them says by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from batch.manifest.limits import DIGITS
from batch.manifest.values import shortened

# What was read is never given back: a run of spaces is gone over once.
TOKEN = re.compile(
    r"""\\[{}|_\\#$%~@!/]
    | \{\s*+(?:[~@!]\s*+)?\d*+-?\d*+\$\$(?:[^${}]*\$\$)?
    | \$\{\s*+[A-Za-z_-][\w-]*+\s*+(?:\??=!?|[:}])
    | [$%]\{
    | __(?!_)[^\n{}|]+?__
    | __
    | [{}|]
    | [^\\{}|_$%]+
    | .""",
    re.DOTALL | re.VERBOSE,
)
_HEAD = re.compile(r"\{\s*([~@!]?)\s*(\d*)(-?)(\d*)\$\$(?:(.*)\$\$)?", re.DOTALL)
VARIABLE = re.compile(r"\$\{\s*([\w-]+?)\s*(\?)?(=!?|[:}])")
WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")
_LOOKS = re.compile(
    r"""(?<!\\)\{[^{}|]*\|[^{}]*\}
    | \{\s*+\d*+-?\d*+\$\$
    | \$\{\s*+[A-Za-z_-][\w-]*+\s*+[?=:}]
    | __[\w*?\[][\w\ /*?.\[\]-]*?__""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"^[ \t]*+(?:#|//)[^\n]*\n?|(?<=\s)(?:#|//)(?=\s|\Z)[^\n]*", re.MULTILINE)
SAMPLERS = "ways of sampling (~ @ !) are not understood here; remove the sign, or write {0}{1} for the character"


def looks_varied(text: str) -> bool:
    """Whether a text has what this grammar would expand."""
    return _LOOKS.search(text) is not None


def uncommented(text: str) -> str:
    """A text without the comments of this grammar."""
    if "/*" in text:
        first, *rest = text.split("/*")
        ends = [part.partition("*/") for part in rest]
        text = first + "".join(after if end else f"/*{before}" for before, end, after in ends)
    return _COMMENT.sub("", text).strip() if "#" in text or "//" in text else text


def opens(token: str) -> int:
    """1 for a token that opens a brace, -1 for one that closes it."""
    if token == "}":
        return -1
    return int(token[0] == "{" or (token[:2] in ("${", "%{") and token[-1] != "}"))


def closing(tokens: Sequence[str], index: int) -> int:
    """Where the brace is closed that was opened before ``index``."""
    level = 1
    for at in range(index, len(tokens)):
        level += opens(tokens[at])
        if level == 0:
            return at
    raise ValueError("a '{' is not closed; write \\{ for the character itself")


def wildcard_name(token: str) -> str:
    """The name in a token ``__name__``."""
    name = token[2:-2].strip().replace("\\", "/").rstrip("/")
    if not name:
        hint = "it ends before a brace and on its line; write \\_ for the character itself"
        raise ValueError(f"a '__' begins a wildcard that does not end; {hint}")
    if name[0] in "~@!":
        raise ValueError(f"{shortened(token)}: {SAMPLERS.format(chr(92), '_')}")
    if "(" in name and "=" in name:
        called, _, rest = name.partition("(")
        value = rest.partition(",")[0].rstrip(") ")
        hint = f"write ${{{shortened(value)}}} before __{shortened(called.strip())}__"
        raise ValueError(f"{shortened(token)}: parameters of wildcards are not understood here; {hint}")
    if name.startswith("/") or ".." in name:
        raise ValueError(f"{shortened(token)} leads out of the folder of wildcards")
    return name


class Bounds(NamedTuple):
    """How many options of a group are joined, and with what."""

    low: int
    high: int | None
    """None for all there are."""
    joiner: str


def bounds(head: str) -> Bounds:
    """What stands before the options of a group, such as ``{1-2$$ and $$``; of a brace alone, one."""
    match = _HEAD.fullmatch(head)
    if match is None:
        return Bounds(1, 1, "")
    sampler, least, dash, most, joiner = match.groups()
    written = f"{{{shortened(head[1:])}…}}"
    if sampler:
        raise ValueError(f"{written}: {SAMPLERS.format(chr(92), sampler)}")
    if max(len(least), len(most)) > DIGITS:
        raise ValueError(f"{{{head[1:20]}… is a number of more than {DIGITS} digits")
    if not least and not most:
        raise ValueError(f"{written} does not say how many; write for example {{2$$a|b|c}}")
    if joiner and "__" in joiner:
        raise ValueError(f"{written}: a wildcard cannot stand between two options; write the characters")
    joiner = ", " if joiner is None else joiner
    low = int(least or 1)
    if dash and not most:
        return Bounds(low, None, joiner)
    high = int(most or low)
    return Bounds(min(low, high), max(low, high), joiner)
