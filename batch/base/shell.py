"""Commands as a user pastes them into a shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from batch.base.text import one_line


def program() -> str:
    """How this program was called, for hints that can be pasted."""
    called = Path(sys.argv[0]).name
    return "python run_batch.py" if called == "run_batch.py" else "run-batch"


def past_failures(images: int) -> str:
    """The option with which failures one after the other break off no run of so many images."""
    return f"--set run.max_consecutive_failures={images}"


def quoted(path: Path | str) -> str:
    """A path or a text as one word of a command, and in one line, whatever is in its name."""
    name = str(path)
    if os.name == "nt":
        return subprocess.list2cmdline([name])
    if one_line(name) == name:
        return shlex.quote(name)
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{one_line(escaped)}'"


def typed_option(word: str) -> str:
    """``--set 'seed=0, 1'`` of ``--set=seed=0, 1``: as people write it."""
    name, _, value = word.partition("=")
    return f"{name} {quoted(value)}" if value else name


def typed() -> str:
    """What was typed to start this process, without the addresses of who is told."""
    return " ".join(_shown(sys.argv))


def _shown(words: Sequence[str]) -> Iterator[str]:
    """A command's words without the addresses of who is told, which are often secrets."""
    for before, word in zip(["", *words], words, strict=False):
        told = re.match(r"(--notify=|--set=notify=)", word)
        if before == "--notify":
            yield "…"
        elif told is not None:
            yield f"{told[1]}…"
        elif before == "--set" and word.replace(" ", "").startswith("notify="):
            yield "notify=…"
        else:
            yield word
