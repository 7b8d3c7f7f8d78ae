"""How repositories of the Hub are named: ``owner/name`` or ``owner/name@revision``. Pure.

The rules are those of the Hub's client, which is not asked because importing it takes a second.
"""

from __future__ import annotations

import re
from collections.abc import Collection

COMMIT = re.compile(r"[0-9a-f]{40}")
"""Of a repository: what never changes, and is no path."""

_PART = r"\w(?:[\w.-]{0,94}\w)?"
_NAME = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_REVISION = re.compile(r"[^\s\x00-\x1f~^:?*\[\\@]+")

RULE = (
    "names no repository of the Hub: owner and name consist of letters, digits, -, _ and . (96 at most), have no "
    "- or . at either end, no -- or .. inside, and no .git at the end"
)


def is_repository(repo: str) -> bool:
    """Whether a repository may be called that: owner/name, without a revision."""
    return bool(_NAME.fullmatch(repo)) and not ("--" in repo or ".." in repo or repo.endswith(".git"))


def problem(name: str) -> str:
    """What is wrong with a name that is meant as a repository; "" where nothing is, or it is meant as a path."""
    repo, at, revision = name.partition("@")
    if repo.count("/") != 1 or repo.startswith((".", "~", "/")) or "\\" in repo:
        return ""
    if not is_repository(repo):
        return f"{repo} {RULE}"
    if at and not revision:
        return (
            f"no revision stands behind the @ of {name}; write {repo}@COMMIT (or a branch or tag), or {repo} alone"
        )
    inside = not (
        revision.startswith("/") or revision.endswith(("/", ".")) or ".." in revision or "//" in revision
    )
    if at and not (inside and _REVISION.fullmatch(revision)):
        return f"'{revision}' is no revision; write a commit, a branch or a tag behind the @"
    return ""


def covers(allowed: Collection[str], name: str) -> bool:
    """Whether a list of models has this one: as it is named, or without its revision, which means every one.

    A revision stands behind a repository or a file in one; folders of this machine may have an @ in their names.
    """
    plain = name.partition("@")[0]
    repo = "/".join(plain.split("/")[:2])
    return name in allowed or (is_repository(repo) and plain in allowed)
