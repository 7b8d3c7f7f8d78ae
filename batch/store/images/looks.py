"""What an image file turns out to be when it is read whole: its hashes, its size, which picture it is.

Reading takes time, so what was seen is kept in ``.run/looks.json``, by path, size and time: a cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batch.base import regular
from batch.base.errors import UserError
from batch.plan.identity import identify
from batch.records.reading import from_json, to_json
from batch.records.tasks import Task
from batch.store import files, inside
from batch.store.images import reading
from batch.store.images.reading import read_metadata, read_pixels
from batch.store.images.texts import JSON_KEY

FILE = "looks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An image file, read. Whoever only hashed it knows no more than its first three fields."""

    bytes: int
    mtime: float
    sha256: str
    pixels_sha256: str = ""
    width: int = 0
    height: int = 0
    task_id: str = ""
    """Of the picture that its ``run_batch`` text tells, repeats of a measurement left out; else empty."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What that text says the picture was made with instead of what was asked for."""
    error: str = ""
    """Why it is no whole picture."""

    @property
    def unpacked(self) -> bool:
        """Whether more is known than a hash."""
        return bool(self.width or self.error)


def look(path: Path, known: Collection[str] = ()) -> Look:
    """Read a file. One whose SHA-256 is among the ``known`` ones is hashed only: it is not unpacked.

    Raises OSError where it cannot be read, or is a link or anything else but a file.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a link" if stat.S_ISLNK(status.st_mode) else "it is no file")
    seen = Look(bytes=status.st_size, mtime=status.st_mtime, sha256="")
    if seen.bytes > reading.MAX_BYTES:
        return replace(seen, error=f"it has {seen.bytes:,} bytes, more than any picture")
    with regular.opened(path) as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    seen = replace(seen, sha256=digest)
    return seen if digest in known else _unpacked(path, seen)


def _unpacked(path: Path, seen: Look) -> Look:
    found: dict[str, Any] = {}
    if not seen.bytes:
        return replace(seen, error="it is empty")
    try:
        pixels = read_pixels(path)
        found = {"height": pixels.shape[0], "width": pixels.shape[1], "pixels_sha256": hash_pixels(pixels)}
        found |= _told(read_metadata(path).get(JSON_KEY, ""))
    except (OSError, ValueError, UserError, MemoryError) as error:
        found["error"] = str(error) or type(error).__name__
    return replace(seen, **found)


def _told(text: str) -> Mapping[str, object]:
    """Which picture a ``run_batch`` text tells of, and its notes; nothing where it is none of this program."""
    try:
        data = json.loads(text)
        task = from_json(Task, json.dumps(data["task"]))
        notes = {str(name): str(value) for name, value in data.get("notes", {}).items()}
        return {"task_id": picture_of(task), "notes": notes}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def picture_of(task: Task) -> str:
    """An id of what a ``run_batch`` text tells of a task: of a render run its own, of repeats one for all."""
    return identify(task).id


def hash_pixels(pixels: NDArray[Any]) -> str:
    """SHA-256 of the pixels as height x width x RGB, 8 bits each.

    Greys and an alpha channel that hides nothing are the same picture, which is how optimisers store one.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 4 and (pixels[:, :, 3] == 255).all():
        pixels = pixels[:, :, :3]
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    looks: Mapping[str, Look]
    schema: int = 1


class Looks:
    """What the files below ``images/`` are, each read once."""

    def __init__(self, root: Path, state: Path, runner: str, *, fresh: bool = False) -> None:
        """``fresh`` believes nothing that was seen before, and reads every file that is asked for."""
        self._root = root
        self._path = state / FILE
        self._runner = runner
        self._at_first: Mapping[str, Look] = {}
        with suppress(*files.UNREADABLE):
            kept = files.read(_Kept, self._path).looks
            self._at_first = {path: seen for path, seen in kept.items() if inside.is_below_images(path)}
        self._kept = {} if fresh else dict(self._at_first)

    def at(self, path: str, known: Collection[str] = ()) -> Look | None:
        """What the file at a path relative to the folder is; None where there is none to read.

        A file whose SHA-256 is among the ``known`` ones is not unpacked.
        """
        seen = self._kept.get(path)
        try:
            status = os.lstat(self._root / path)
            same = seen is not None and (seen.bytes, seen.mtime) == (status.st_size, status.st_mtime)
            if seen is None or not same or not (seen.unpacked or seen.sha256 in known):
                seen = look(self._root / path, known)
        except OSError:
            return None
        self._kept[path] = seen
        return seen

    def noted(self, path: str) -> str:
        """The SHA-256 that a file had when it was read, with the time that it has now; "" where it was not."""
        seen = self._at_first.get(path)
        if seen is None or seen.mtime != os.lstat(self._root / path).st_mtime:
            return ""
        return seen.sha256 or "not read"

    def keep(self, paths: Collection[str] | None = None) -> None:
        """Keep what was seen for the next time, of these ``paths`` or of all, where that is possible.

        What was kept before and was seen anew is kept as it is now.
        """
        chosen = self._kept if paths is None else self._kept.keys() & {*paths, *self._at_first}
        seen = {**self._at_first, **{path: self._kept[path] for path in chosen}}
        there = {path: look for path, look in seen.items() if os.path.lexists(self._root / path)}
        if there != self._at_first:
            with suppress(OSError):
                files.write(self._path, to_json(_Kept(looks=there)), self._runner)
