"""Where the pictures of a run folder lie: images, their thumbnails, latents that are kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.base import atomic, disk, regular
from batch.base.errors import UserError
from batch.manifest import formats
from batch.records.receipts import FileRef, Receipt
from batch.records.tasks import Task
from batch.store import inside
from batch.store.images.encoders import thumbnail
from batch.store.images.looks import hash_pixels, look, picture_of
from batch.store.images.reading import read_pixels
from batch.store.touched import image_files, is_as_written
from batch.store.trash import Trash


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFiles:
    """The files of an image that was saved where this folder cannot be seen."""

    image: bytes
    thumb: bytes | None = None
    latents: bytes | None = None


class Pictures:
    """The image files of the run folder ``root``, and what belongs to them.

    ``may_write`` raises where the folder is not this runner's any more.
    """

    def __init__(self, root: Path, runner: str, may_write: Callable[[], None]) -> None:
        self._root = root
        self._runner = runner
        self._may_write = may_write
        self.trash = Trash(root)
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
        """Every image file below ``images/``, in order; hidden files, links and what is no image are left out."""
        return image_files(self.images)

    def save(self, task: Task, data: bytes, pixels: NDArray[np.uint8], *, replace: bool) -> FileRef:
        """Write an image, whose file holds ``data``, and its thumbnail.

        What lies in the image's place already is moved to the trash, unless it is the same, or ``replace`` says
        that it is ours.
        """
        path = image_path(task)
        self._may_write()  # as late as can be: encoding may take seconds
        self._save_thumb(task.id, thumbnail(pixels))
        place = self._put(path, data, replace=replace)
        height, width = pixels.shape[:2]
        return FileRef(
            path=path,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=width,
            height=height,
            pixels_sha256=_pixels_of(place, task, pixels),
            mtime=round(place.stat().st_mtime, 3),
        )

    def adopt(self, task: Task, file: FileRef, data: bytes, thumb: bytes | None, *, replace: bool) -> float:
        """Write an image and its thumbnail that were encoded elsewhere; when the file was written, as it says.

        Raises ValueError where the image is not the one that ``file`` says. As :meth:`save` for all else.
        """
        if file.path != image_path(task) or hashlib.sha256(data).hexdigest() != file.sha256:
            raise ValueError("the image was damaged on its way")
        self._may_write()
        if thumb is not None:
            self._save_thumb(task.id, thumb)
        return round(self._put(file.path, data, replace=replace).stat().st_mtime, 3)

    def _put(self, path: str, data: bytes, *, replace: bool) -> Path:
        """Write an image in its place, which is returned; what else lies there goes to the trash."""
        place = self._root / path
        inside.require_here(self._root, place)
        if replace or not os.path.lexists(place) or _holds(place, data):
            atomic.write(place, data, self._runner)
        else:  # it stays where it is until the new one is on the disk
            part = atomic.part_of(place, self._runner)
            atomic.write(part, data, self._runner)
            self.trash.take(path)
            atomic.move(part, place)
        return place

    def holds_another(self, task: Task) -> bool:
        """Whether what lies in the place of a task's image is a whole picture, and says that it is another one."""
        seen = look(self._root / image_path(task))
        return not seen.error and seen.task_id not in ("", picture_of(task))

    def save_latents(self, task: Task, data: bytes) -> None:
        """Keep the latents of an image, a safetensors file's bytes."""
        atomic.write(self.latents_path(task.id), data, self._runner)

    def _save_thumb(self, task_id: str, data: bytes) -> None:
        """Write a thumbnail. Where that fails the image is as good as with it; a full disk alone is raised."""
        # Not synced: two syncs an image less, for what :meth:`remake_thumb` makes again.
        try:
            atomic.write(self.thumb_path(task_id), data, self._runner, durable=False)
        except OSError as error:
            if disk.is_full(error):
                raise

    def remake_thumb(self, receipt: Receipt) -> bool:
        """Make the thumbnail of an image anew, where it is gone or torn; whether there is one now."""
        try:
            self._save_thumb(receipt.task.id, thumbnail(read_pixels(self._root / receipt.file.path)))
        except (OSError, ValueError, UserError, MemoryError):
            return False
        return inside.is_file(self.thumb_path(receipt.task.id))

    def thumb_is_older(self, receipt: Receipt) -> bool:
        """Whether an image was written or put in its place after its thumbnail; also where one is gone."""
        try:
            image = (self._root / receipt.file.path).lstat()
            return self.thumb_path(receipt.task.id).lstat().st_mtime < max(image.st_mtime, image.st_ctime)
        except OSError:
            return True

    def remove(self, task: Task, file: FileRef | None) -> None:
        """Remove what was written of an image; of files only the one that is as it was written."""
        with suppress(OSError):
            if file is not None and is_as_written(self._root, file):
                (self._root / file.path).unlink()
        for path in (self.thumb_path(task.id), self.latents_path(task.id)):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def image_path(task: Task) -> str:
    """Where the image of a task lies in its run folder. Raises ValueError for a name that leads out of it."""
    if min(task.width, task.height, task.rendered_width, task.rendered_height) < 1:
        raise ValueError(f"size: {task.size} is none")
    if task.format not in formats.FORMATS:
        raise ValueError(f"format: {task.format!r} is unknown")
    path = f"images/{task.name}.{formats.FORMATS[task.format].suffix}"
    if not inside.is_below_images(path):
        raise ValueError(f"name: {task.name!r} leads out of the run folder")
    return path


def _pixels_of(path: Path, task: Task, pixels: NDArray[np.uint8]) -> str:
    """The hash of a new file's pixels, which are others than those rendered where its format loses some."""
    if formats.is_lossless(task.format, task.format_options):
        return hash_pixels(pixels)
    try:
        return hash_pixels(read_pixels(path))
    except (OSError, ValueError, MemoryError):  # of more pixels than are read here
        return ""


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file holds just these bytes."""
    try:
        return inside.is_file(path) and regular.read(path, len(data)) == data
    except (OSError, ValueError):  # ValueError: it is larger
        return False
