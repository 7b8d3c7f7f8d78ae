"""Pictures that are not where a receipt names one, nor anywhere else: what is in their place instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from batch.base import regular
from batch.store.images.looks import picture_of

if TYPE_CHECKING:
    from pathlib import Path

    from batch.records.receipts import Receipt
    from batch.store.images.looks import Look

SLACK_S = 2.0
"""File systems and copies round times to whole seconds, FAT to two."""


class PictureLoss(StrEnum):
    """What is in the place of a picture that is not there any more."""

    GONE = "gone"
    """Nothing."""
    TORN = "torn"
    """A file that is no whole picture, or has other bytes although nobody has written to it; a folder, a pipe."""
    TAKEN = "taken"
    """Another picture, whole."""
    LINKED = "linked"
    """A symbolic link, which is not followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Why there is no picture where a receipt names one."""

    path: str
    """Where the receipt says that it is."""
    how: PictureLoss
    why: str


def lost_of(place: Path, seen: Look | None, receipt: Receipt, holder: str, names: Mapping[str, str]) -> Lost:
    """``holder`` names the picture of this run that lies there, where that is known; ``names`` those of texts."""
    if seen is not None and seen.task_id not in ("", picture_of(receipt.task)):
        holder = holder or names.get(seen.task_id, "another run")
    if seen is None:
        how, why = _unread(place)
    elif seen.error:
        how, why = PictureLoss.TORN, f"it is no whole picture: {seen.error}"
    elif holder:
        how, why = PictureLoss.TAKEN, f"it holds the picture of {holder}"
    elif has_rotted(seen, receipt):
        how, why = PictureLoss.TORN, "its bytes are others, although nobody has written to it since"
    else:
        how, why = PictureLoss.TORN, "it is of a run that was cut off"
    return Lost(path=receipt.file.path, how=how, why=why)


def _unread(place: Path) -> tuple[PictureLoss, str]:
    """What is in a place that has no file to read."""
    if place.is_symlink():
        return PictureLoss.LINKED, "a link is in its place, and links are not followed"
    try:
        return PictureLoss.TORN, f"{regular.kind(place)} is in its place"
    except OSError:
        return PictureLoss.GONE, "its file is gone"


def is_torn(seen: Look, receipt: Receipt) -> bool:
    """Whether a file is what is left of the picture of a receipt: no whole picture, or with bits that flipped."""
    return bool(seen.error) or has_rotted(seen, receipt)


def has_rotted(seen: Look, receipt: Receipt) -> bool:
    """Whether a file has other bytes although nobody has written to it since: no edit, but the disk."""
    file = receipt.file
    return (
        file.mtime is not None
        and is_same_time(seen.mtime, file.mtime)
        and seen.bytes == file.bytes
        and seen.sha256 != file.sha256
    )


def is_same_time(found: float, written: float) -> bool:
    """Whether a file has not been written since: its time is the one noted, or that one rounded."""
    return abs(found - written) <= (SLACK_S if found.is_integer() else 0.002)
