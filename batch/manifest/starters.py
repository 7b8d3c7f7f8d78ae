"""Manifests to begin with, each with its comments. ``jobs/`` holds two of them: a test compares."""

from __future__ import annotations

from pathlib import Path
from string import Template

STARTERS = ("quickstart", "overnight", "compare")

_FOLDER = Path(__file__).parent / "starters"


def starter(kind: str, *, run: str, file: str, folder: str) -> str:
    """A manifest whose comments say what to type: ``run`` the program, ``file`` itself, ``folder`` its run."""
    text = Template((_FOLDER / f"{kind}.yaml").read_text(encoding="utf-8"))
    return text.substitute(run=run, file=file, folder=folder)
