"""Where the pictures of a run folder lie: images, their thumbnails, latents that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.base import atomic, disk
from batch.base.errors import UserError
from batch.manifest import formats
from batch.records.receipts import FileRef, Receipt
from batch.records.tasks import Task
from batch.store import inside
from batch.store.images import reading
from batch.store.images.encoders import encode, thumbnail
from batch.store.images.reading import read_pixels


class Pictures:
    """The image files of the run folder ``root``, and what belongs to them.

    ``may_write`` raises where the folder is not this runner's any more.
    """

    def __init__(self, root: Path, runner: str, may_write: Callable[[], None]) -> None:
        self._root = root
        self._runner = runner
        self._may_write = may_write
        self.images = root / "images"
        self.thumbs = root / "thumbs"
        self.latents = root / "latents"

    def latents_path(self, task_id: str) -> Path:
        """Where the latents of a task lie, if they are kept."""
        return self.latents / f"{task_id}.safetensors"

    def thumb_path(self, task_id: str) -> Path:
        """Where the thumbnail of a task lies."""
        return self.thumbs / f"{task_id}.webp"

    def image_files(self) -> Iterator[Path]:
        """Every image file below ``images/``; hidden files and what is no image are left out."""
        suffixes = reading.suffixes()
        for path in sorted(self.images.rglob("[!.]*")):
            if path.suffix.lower() in suffixes and path.is_file():
                yield path

    def save(self, task: Task, pixels: NDArray[np.uint8], notes: Mapping[str, str] | None) -> FileRef:
        """Write image and thumbnail; ``notes`` go into the image's metadata beside its task."""
        data = encode(pixels, task, notes)
        path = image_path(task)
        self._may_write()  # as late as can be: encoding may take seconds
        self._save_thumb(task.id, pixels)
        atomic.write(self._root / path, data, self._runner)
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(data).hexdigest()
        return FileRef(path=path, bytes=len(data), sha256=digest, width=width, height=height)

    def save_latents(self, task: Task, data: bytes) -> None:
        """Keep the latents of an image, a safetensors file's bytes."""
        atomic.write(self.latents_path(task.id), data, self._runner)

    def _save_thumb(self, task_id: str, pixels: NDArray[np.uint8]) -> None:
        """Write a thumbnail. Where that fails the image is as good as with it; a full disk alone is raised."""
        # Not synced: two syncs an image less, for what :meth:`remake_thumb` makes again.
        data = thumbnail(pixels)
        try:
            atomic.write(self.thumb_path(task_id), data, self._runner, durable=False)
        except OSError as error:
            if disk.is_full(error):
                raise

    def remake_thumb(self, receipt: Receipt) -> bool:
        """Make the thumbnail of an image anew, where it is gone or torn; whether there is one now."""
        try:
            self._save_thumb(receipt.task.id, read_pixels(self._root / receipt.file.path))
        except (OSError, ValueError, UserError, MemoryError):
            return False
        return inside.is_file(self.thumb_path(receipt.task.id))

    def remove(self, task: Task) -> None:
        """Remove all there is of an image."""
        for path in (self._root / image_path(task), self.thumb_path(task.id), self.latents_path(task.id)):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def image_path(task: Task) -> str:
    """Where the image of a task lies in its run folder."""
    return f"images/{task.name}.{formats.FORMATS[task.format].suffix}"
