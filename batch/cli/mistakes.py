"""Errors as they are told: what is wrong, where, and what would be right."""

from __future__ import annotations

from collections.abc import Iterator

from batch.base import errors
from batch.base.text import one_line


def told(error: errors.BatchError) -> str:
    """For stderr. A manifest's problems stay as editors read them: file:line: message."""
    return "\n".join(_problems(error)) if isinstance(error, errors.ManifestError) else _as_error(error)


def _as_error(error: errors.BatchError) -> str:
    """Further lines are indented, so that no name in one passes for a line of its own.

    Of a folder's errors, which name its files, none has lines of its own, so line ends in them are those of names.
    """
    text = f"error: {error}"
    return one_line(text) if isinstance(error, errors.FolderError) else text.replace("\n", "\n    ")


def _problems(error: errors.ManifestError) -> Iterator[str]:
    """A manifest's problems, and before them what may explain them."""
    for warning in error.warnings[: errors.WARNINGS]:
        yield one_line(f"warning: {warning}")
    if len(error.warnings) > errors.WARNINGS:
        yield f"warning: and {len(error.warnings) - errors.WARNINGS:,} more warnings"
    yield str(error)
