"""Moves what the manifest no longer names into the run's trash, and back. Deletes nothing.

``trash/<UTC time>/`` keeps every file under its path in the run folder. A receipt is moved before the file
it names, and comes back after it, so that an interruption never leaves a receipt that points to nothing;
what it leaves is an orphaned image, which the next prune moves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from batch.base import atomic, walk
from batch.base.errors import UserError
from batch.base.text import one_line
from batch.store import inside
from batch.store.folder import RunFolder, runner_id
from batch.store.images import reading

_OTHERS = re.compile(r"thumbs/[^/]+\.webp|latents/[^/]+\.safetensors|\.run/receipts/([^/]+/)*[^/]+\.json")
"""What is moved to the trash beside images, and comes back."""


class Reason(StrEnum):
    """Why a file belongs to nothing that the manifest names."""

    EXTRA = "extra"
    """Of an image the manifest no longer names, copies of it among them."""
    ORPHANED = "orphaned"
    """An image without receipt, and no copy of one that has one."""
    DAMAGED = "damaged"
    """A receipt that cannot be read and that no task needs."""
    LEFTOVER = "leftover"
    """A thumbnail or latents of no image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedFile:
    """A file to move, its path relative to the run folder."""

    path: str
    bytes: int
    why: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was moved, or what would be; ``trash`` is None when nothing was."""

    items: tuple[PrunedFile, ...]
    trash: Path | None

    @property
    def images(self) -> int:
        """Image files among the items."""
        return sum(item.path.startswith("images/") for item in self.items)

    @property
    def bytes(self) -> int:
        """The size of all items."""
        return sum(item.bytes for item in self.items)


def prune(root: Path, *, dry_run: bool) -> Pruned:
    """Move extra images with all that belongs to them, and files that belong to nothing.

    Takes the run's lock, except with ``dry_run``, which only looks. Raises
    :class:`~batch.base.errors.UserError` when what the manifest names is not known.
    """
    folder = RunFolder(root, runner_id())
    folder.require()
    if dry_run:
        return Pruned(items=tuple(_items(folder, running=bool(folder.running()))), trash=None)
    with folder.hold():
        items = tuple(_items(folder, running=False))
        if not items:
            return Pruned(items=(), trash=None)
        for item in items:
            folder.still_held()
            folder.trash.take(item.path)
        _report(folder)
    return Pruned(items=items, trash=folder.trash.folder)


def restore(root: Path, name: str, *, dry_run: bool = False) -> tuple[str, ...]:
    """Move everything in ``trash/<name>`` back; returns the paths. ``dry_run`` moves nothing.

    Raises :class:`~batch.base.errors.UserError` when there is no such trash, or when a file is there already.
    """
    folder = RunFolder(root, runner_id())
    folder.require()
    whole = folder.root / "trash"
    trash = whole / name
    there = sorted(path.name for path in whole.glob("[!.]*") if path.is_dir()) if whole.is_dir() else []
    if name not in there:
        possible = f"possible are {', '.join(there)}" if there else "nothing is in its trash"
        raise UserError(f"{root} has no trash named {name}; {possible}")
    with folder.hold():
        found = [path.relative_to(trash).as_posix() for path in walk.files_below(trash) if inside.is_file(path)]
        files = [path for path in found if _comes_back(path)]
        taken = [place for path in files for place in _taken(folder.root, path)]
        if taken:
            names = "\n".join(f"  {one_line(path)}" for path in dict.fromkeys(taken))
            raise UserError(
                f"nothing was moved: of {trash} in the run folder again are\n{names}\nMove them away, then restore"
            )
        if dry_run:
            return tuple(files)
        for path in sorted(files, key=lambda path: path.startswith(".run/")):
            folder.still_held()
            atomic.move(trash / path, folder.root / path)
        for path in files:
            with suppress(OSError, ValueError):  # until one that holds something else
                for empty in [place for place in (trash / path).parents if place.is_relative_to(trash)]:
                    empty.rmdir()
        _report(folder)
    return tuple(files)


def _comes_back(path: str) -> bool:
    """Whether a file in a trash is of a kind that is ever moved there; nothing else is put anywhere."""
    if inside.is_below_images(path):
        return PurePosixPath(path).suffix.lower() in reading.suffixes()
    return _OTHERS.fullmatch(path) is not None


def _taken(root: Path, path: str) -> list[str]:
    """What is in the way of a file that comes back: another one in its place, or one in that of its folder.

    Raises :class:`UserError` where a link leads elsewhere.
    """
    place = root / path
    inside.require_here(root, place)
    above = [folder for folder in place.parents if folder.is_relative_to(root) and not folder.is_dir()]
    return [taken.relative_to(root).as_posix() for taken in (place, *above) if os.path.lexists(taken)]


def _report(folder: RunFolder) -> None:
    from batch.report.write import write_report

    write_report(folder)


def _items(folder: RunFolder, *, running: bool) -> Iterator[PrunedFile]:
    """Everything to move, each receipt before what it names."""
    tasks = folder.tasks()
    if not tasks:
        raise UserError(
            f"{folder.root} holds no list of its tasks (.run/tasks.jsonl), so what the manifest names is not "
            "known; run the manifest again first"
        )
    planned = {task.id for task in tasks}
    files = list(folder.image_files())
    inspection, scan = folder.inspect(), folder.scan()
    paths = {key: item.file.path for key, item in {**inspection.receipts, **scan.receipts}.items()}
    needed = {path for key, path in paths.items() if key in planned}
    for key in inspection.receipts:
        if key not in planned:
            image = [] if paths[key] in needed else [folder.root / paths[key]]
            yield from _there(
                folder,
                [folder.receipt_path(key), *image, folder.latents_path(key), folder.thumb_path(key)],
                Reason.EXTRA,
            )
    others = folder.unnamed(files, scan, tasks, saving=running)
    yield from _there(folder, [folder.root / path for path in others.extra], Reason.EXTRA)
    yield from _there(folder, [folder.root / path for path in others.orphans], Reason.ORPHANED)
    damaged = [path for path in inspection.damaged if path.stem not in planned]
    yield from _there(folder, damaged, Reason.DAMAGED)
    kept = planned | inspection.receipts.keys()
    made = [*folder.thumbs.glob("[!.]*.webp"), *folder.latents.glob("[!.]*.safetensors")]
    yield from _there(folder, [path for path in made if path.stem not in kept], Reason.LEFTOVER)


def _there(folder: RunFolder, paths: Iterable[Path], why: Reason) -> Iterator[PrunedFile]:
    for path in paths:
        if path.is_file():
            relative = path.relative_to(folder.root).as_posix()
            yield PrunedFile(path=relative, bytes=path.stat().st_size, why=why)
