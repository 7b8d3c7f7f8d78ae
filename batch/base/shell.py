"""Commands as a user pastes them into a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from batch.base.text import one_line


def program() -> str:
    """How this program was called, for hints that can be pasted."""
    called = Path(sys.argv[0]).name
    return "python run_batch.py" if called == "run_batch.py" else "run-batch"


def past_failures(images: int) -> str:
    """The option with which failures one after the other break off no run of so many images."""
    return f"--set run.max_consecutive_failures={images}"


def quoted(path: Path) -> str:
    """A path as one word of a command, and in one line, whatever is in its name."""
    name = str(path)
    if os.name == "nt":
        return subprocess.list2cmdline([name])
    if one_line(name) == name:
        return shlex.quote(name)
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{one_line(escaped)}'"
