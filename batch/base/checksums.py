"""SHA-256 of large files, each read once: kept in the user's cache beside what tells that the file is the same.

A cache: any entry may be deleted at any time, and a damaged one counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic, regular
from batch.base.cache import default_folder
from batch.base.text import gib

if TYPE_CHECKING:
    from io import BufferedReader

TOLD_FROM = 2**30
"""Bytes from which on reading a file takes so long that it is told."""

FRESH_S = 2.0
"""A file this young may be changed again without another time of change: its hash is not kept."""

_MOST = 65_536
_SHA256 = re.compile(r"[0-9a-f]{64}")

Tell = Callable[[str], None]
"""Told what is about to take long, such as reading a file whole."""


def untold(_text: str) -> None:
    """For whoever says nothing."""


class Changed(OSError):  # noqa: N818
    """A file was written to while it was read."""


def of(path: Path, tell: Tell = untold) -> str:
    """The SHA-256 of a regular file, as 64 hex digits. Raises OSError, :class:`Changed` among them.

    The cache of the Hub keeps large files under their hash, and links to them: a link to one there is believed.
    """
    with regular.opened(path) as file:
        if found := _linked(path):
            return found
        before = _state(file)
        if found := _kept(path, before):
            return found
        if before[0] >= TOLD_FROM:
            tell(f"reading {path.name} ({gib(before[0])}) to know it by its content, once")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _state(file) != before:
            raise Changed(f"{path} was written to while it was read; wait until it is complete")
    if time.time() - before[1] / 1e9 > FRESH_S:
        _read[path.absolute()] = (before, digest)
        data = {"path": str(path.absolute()), "file": before, "sha256": digest}
        with suppress(OSError):  # a cache that cannot be written: it is read again next time
            atomic.write(_place(path), json.dumps(data).encode("utf-8", "surrogateescape"), durable=False)
    return digest


def known(path: Path) -> str:
    """The same where it need not be read for that; "" where it must be, or is not there."""
    with suppress(OSError), regular.opened(path) as file:
        return _linked(path) or _kept(path, _state(file))
    return ""


def _linked(path: Path) -> str:
    """The hash that is the name of what a link of the Hub's cache leads to; "" where it is none."""
    if not path.is_symlink():
        return ""
    file = path.resolve()
    is_the_hubs = file.parent.name == "blobs" and file.parent.parent.name.startswith("models--")
    return file.name if is_the_hubs and _SHA256.fullmatch(file.name) else ""


def _state(file: BufferedReader) -> list[int]:
    """Size, time of change in nanoseconds, the file's number where the file system has one, and another time.

    The last is that of whatever was changed of the file, which nobody can set back; on Windows that of its making.
    """
    found = os.fstat(file.fileno())
    return [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]


_read: dict[Path, tuple[list[int], str]] = {}
"""What this process has read, for where the cache cannot be written."""


def _kept(path: Path, state: list[int]) -> str:
    if (seen := _read.get(path.absolute())) and seen[0] == state:
        return seen[1]
    try:
        data = json.loads(regular.read(_place(path), _MOST))
        if data["path"] == str(path.absolute()) and data["file"] == state and _SHA256.fullmatch(data["sha256"]):
            return str(data["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return ""


def _place(path: Path) -> Path:
    name = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()
    return default_folder() / "checksums" / name[:2] / f"{name}.json"
