"""Finished pictures that somebody has touched: which file is which picture, and what became of it.

A receipt names a file, its size and when it was written. Where the file has both it is trusted, and nothing here
is asked. Any other file is read whole: one that decodes and tells by its ``run_batch`` text, or shows by its
pixels, that it is the picture, *is* the picture, wherever it lies below ``images/``. It belongs to whoever
touched it: a run leaves it alone. What does not decode is torn, and is rendered again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from unicodedata import normalize

from batch.base import walk
from batch.records.receipts import FileRef, Receipt
from batch.store.images import reading
from batch.store.images.looks import picture_of
from batch.store.losses import has_rotted, is_same_time, lost_of

if TYPE_CHECKING:
    from batch.store.images.looks import Look, Looks
    from batch.store.losses import Lost

T = TypeVar("T")


class Change(StrEnum):
    """What became of a picture's file, in words."""

    NONE = ""
    TEXTS = "other bytes, the same pixels"
    """Other metadata, or packed otherwise."""
    PIXELS = "other pixels"
    CONTENT = "other content"
    """Of a receipt that knows no hash of the pixels."""
    REPLACED = "nothing in the file says which picture it is"
    """A whole picture in its place, or under its name with another suffix: painted over, converted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What somebody did to a finished picture."""

    moved: bool = False
    change: Change = Change.NONE
    size: tuple[int, int] | None = None
    """Width and height of the file in pixels, where its pixels may be others."""

    @property
    def shows(self) -> bool:
        """Whether the picture looks, or may look, other than it was rendered."""
        return self.change not in {Change.NONE, Change.TEXTS}

    def __str__(self) -> str:
        """As results.csv and ``status`` have it."""
        if self.change is Change.REPLACED:
            return "replaced"
        return " and ".join(word for word, holds in (("moved", self.moved), ("changed", self.change)) if holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Receipts whose files are not as they were written, each in one of two."""

    receipts: Mapping[str, Receipt] = field(default_factory=dict)
    """Of pictures that are there; ``file.path`` is where each lies now."""
    touched: Mapping[str, Touched] = field(default_factory=dict)
    """Of these, what was done to them; only copied, with other times, is nothing."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """The others."""


def is_as_written(root: Path, file: FileRef) -> bool:
    """Whether a file has the size and the time that its receipt names. Raises OSError where it is not there."""
    status = os.lstat(f"{root}/{file.path}")  # not pathlib, which takes three times as long
    return (
        status.st_size == file.bytes
        and stat.S_ISREG(status.st_mode)
        and (file.mtime is None or is_same_time(status.st_mtime, file.mtime))
    )


def settle(suspects: Mapping[str, Receipt], claimed: Iterable[str], images: Path, looks: Looks) -> Settled:
    """Find the pictures of receipts whose files are not as written.

    ``claimed`` are the paths of the files that are as written, relative to the run folder: they are no other
    picture's. What is not in its place is looked for in all other files below ``images``.
    """
    found: dict[str, tuple[Receipt, Touched]] = {}
    for key, receipt in with_bar(suspects.items()):
        there = looks.at(receipt.file.path, {receipt.file.sha256})
        if there is not None and _is_picture(there, receipt):
            found[key] = receipt, _touched(there, receipt)
    away = {key: receipt for key, receipt in suspects.items() if key not in found}
    if away:
        taken = {*claimed, *(receipt.file.path for receipt, _ in found.values())}
        others = untaken(image_files(images), images.parent, taken)
        found |= _elsewhere(away, others, looks)
        gone = {key: item for key, item in away.items() if key not in found and looks.at(item.file.path) is None}
        taken = {receipt.file.path for receipt, _ in found.values()}
        found |= _converted(gone, [path for path in others if path not in taken], looks)
    held = {receipt.file.path: receipt.task.name for receipt, _ in found.values()}
    names = {picture_of(receipt.task): receipt.task.name for receipt in suspects.values()} if away else {}
    lost = {}
    for key in away.keys() - found.keys():
        receipt = away[key]
        path, there = receipt.file.path, looks.at(receipt.file.path)
        if there is None or there.error or path in held or not _may_be(there, receipt):
            lost[key] = lost_of(images.parent / path, there, receipt, held.get(path, ""), names)
        else:
            found[key] = receipt, Touched(change=Change.REPLACED, size=(there.width, there.height))
    return Settled(
        receipts={key: receipt for key, (receipt, _) in found.items()},
        touched={key: touched for key, (_, touched) in found.items() if touched != Touched()},
        lost=lost,
    )


def with_bar(items: Collection[T]) -> Iterable[T]:
    """A bar on a terminal where it takes longer: every file of a folder that was copied without its times."""
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(
        items, desc="reading touched pictures", unit="file", delay=2, disable=None, leave=False
    )
    return bar


def _is_picture(seen: Look, receipt: Receipt) -> bool:
    """Whether a file is the picture of a receipt, for certain."""
    file = receipt.file
    is_size = (seen.width, seen.height) == (file.width, file.height)
    if seen.sha256 == file.sha256:
        return not seen.unpacked or (is_size and not seen.error)
    if seen.error or has_rotted(seen, receipt):
        return False
    if seen.task_id:  # whatever size it was cut to
        return not _is_another(seen, receipt)
    return is_size and bool(file.pixels_sha256) and seen.pixels_sha256 == file.pixels_sha256


def _converted(
    gone: Mapping[str, Receipt], others: Iterable[str], looks: Looks
) -> dict[str, tuple[Receipt, Touched]]:
    """Pictures in another format: without texts, and under the name of one that is gone, whose end is unique."""
    by_stem = {Path(path).stem: path for path in others}
    found = {}
    for key, receipt in gone.items():
        path = by_stem.get(Path(receipt.file.path).stem, "")
        seen = looks.at(path) if path else None
        if seen is not None and not seen.error and not seen.task_id:
            moved = replace(receipt, file=replace(receipt.file, path=path))
            found[key] = moved, Touched(change=Change.REPLACED, size=(seen.width, seen.height))
    return found


def _may_be(seen: Look, receipt: Receipt) -> bool:
    """Whether nothing speaks against a whole picture in the place of one."""
    return not _is_another(seen, receipt) and not has_rotted(seen, receipt)


def _is_another(seen: Look, receipt: Receipt) -> bool:
    """Whether a file says that it is another picture, or this one made anew in another way."""
    notes = {"memory_used": receipt.memory_used, "repaired": receipt.repaired}
    made_so = {name: text for name, text in notes.items() if text}
    return bool(seen.task_id) and (seen.task_id != picture_of(receipt.task) or seen.notes != made_so)


def _touched(seen: Look, receipt: Receipt, *, moved: bool = False) -> Touched:
    change = _change(seen, receipt)
    same = Touched(moved=moved, change=change)
    return replace(same, size=(seen.width, seen.height)) if same.shows else same


def _change(seen: Look, receipt: Receipt) -> Change:
    if seen.sha256 == receipt.file.sha256:
        return Change.NONE
    if not receipt.file.pixels_sha256:
        return Change.CONTENT
    return Change.TEXTS if seen.pixels_sha256 == receipt.file.pixels_sha256 else Change.PIXELS


def untaken(files: Iterable[Path], root: Path, taken: Iterable[str]) -> list[str]:
    """Of some files those that are not taken, as paths relative to the run folder, which ``taken`` are too."""
    composed = {normalize("NFC", path) for path in taken}  # some file systems of macOS decompose names
    paths = (path.relative_to(root).as_posix() for path in files)
    return [path for path in paths if normalize("NFC", path) not in composed]


def originals(paths: Iterable[str], receipts: Iterable[Receipt], looks: Looks) -> dict[str, Receipt]:
    """Of image files that no receipt names those that are copies, each with the receipt of its picture."""
    receipts = list(receipts)
    told = {picture_of(receipt.task): receipt for receipt in receipts}
    shown = {_pixels(receipt.file): receipt for receipt in receipts if receipt.file.pixels_sha256}
    found: dict[str, Receipt] = {}
    for path in paths:
        seen = looks.at(path)
        if seen is None or seen.error:
            continue
        # A file that says which picture it is is no other one, whatever it shows.
        original = told.get(seen.task_id) if seen.task_id else shown.get(_pixels(seen))
        if original is not None:
            found[path] = original
    return found


def _pixels(of: FileRef | Look) -> tuple[str, int, int]:
    return of.pixels_sha256, of.width, of.height


def _elsewhere(
    away: Mapping[str, Receipt], others: Collection[str], looks: Looks
) -> dict[str, tuple[Receipt, Touched]]:
    """Which of the other files is which picture; each is one picture only."""
    known = {receipt.file.sha256 for receipt in away.values()}
    by_mark: dict[str, dict[str, Look]] = {}
    for path in with_bar(others):
        if (seen := looks.at(path, known)) is not None:
            for mark in filter(None, (seen.sha256, seen.task_id, seen.pixels_sha256)):
                by_mark.setdefault(mark, {})[path] = seen
    found, used = {}, set()
    for key, receipt in away.items():
        file = receipt.file
        for mark in (file.sha256, picture_of(receipt.task), file.pixels_sha256):
            there = by_mark.get(mark, {})
            fitting = [path for path, seen in there.items() if path not in used and _is_picture(seen, receipt)]
            if not fitting:
                continue
            # Repeats of a measurement may be one picture: the name tells them apart.
            path = min(fitting, key=lambda path: (Path(path).stem != Path(file.path).stem, path))
            touched = _touched(there[path], receipt, moved=path != file.path)
            found[key] = replace(receipt, file=replace(file, path=path)), touched
            used.add(path)
            break
    return found


def image_files(images: Path) -> Iterator[Path]:
    """Every image file below a folder, in order; hidden files, links and what is no image are left out."""
    suffixes = reading.suffixes()
    return (path for path in walk.files_below(images, hidden=False) if path.suffix.lower() in suffixes)
