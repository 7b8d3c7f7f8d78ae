"""A run folder may come from someone else: what is in it must lie in it, and be of the kind that it should be.

Through a link, files elsewhere would be written, emptied, moved or shown; a pipe in place of a file would be
waited for. The run folder itself may be a link, and so may the folders above it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from batch.base.errors import FolderError, FolderLost, ForeignFolder

_FOLDERS = {".run", "images", "thumbs", "latents", "trash"}
_STATE_FOLDERS = {"receipts", "failures", "embeds", "orders", "page", "shards"}
_WRITTEN = re.compile(
    r"results(-1)?\.csv|report\.html|manifest\.(yaml|csv|tsv|jsonl)"
    r"|contact_sheet(-\d+)?\.jpg|contact_sheet-([\w.-]+-)?by-[\w.-]+\.(jpg|png|webp|pdf)"
)
"""Files beside them; what else a user keeps there is not looked at."""


def check(root: Path) -> None:
    """Raise :class:`ForeignFolder` for what leads outside, or is no file or folder where one belongs.

    Raises :class:`FolderError` for what cannot be read. Folders are listed, and no file is opened.
    """
    for entry in _entries(root):
        if entry.name in _FOLDERS:
            _require(entry, "a folder")
        elif _WRITTEN.fullmatch(entry.name):
            _require(entry, "a file")
    for entry in _entries(root / ".run"):
        # Its files have suffixes, save for one; what a newer version may have put beside them is of either kind.
        is_file = "." in entry.name[1:] or entry.name == "lock"
        _require(entry, "a folder" if entry.name in _STATE_FOLDERS else "a file" if is_file else "")
    for shard in _entries(root / ".run" / "shards"):
        _require(shard, "a file" if shard.name.endswith(".lock") else "a folder")
        for entry in _entries(Path(shard.path)):
            _require(entry, "a folder" if entry.name == "orders" else "a file")
    for entry in _entries(root / ".run" / "receipts"):
        if len(entry.name) == 2:
            _require(entry, "a folder")
    for folder in (
        *(root / name for name in _FOLDERS - {".run"}),
        *(root / ".run" / name for name in _STATE_FOLDERS),
    ):
        _refuse_links_to_folders(folder)


def require_here(root: Path, path: Path) -> None:
    """Raise :class:`FolderLost` where a folder on the way from a run folder to a file has become a link.

    Asked before a picture is written or moved, since somebody may have changed that while a run goes on.
    """
    folder = path.parent
    if Path(os.path.realpath(folder)) != Path(os.path.realpath(root)) / folder.relative_to(root):
        raise FolderLost(f"{folder} leads out of {root} now: a link has taken the place of a folder")


def is_below_images(path: str) -> bool:
    """Whether a path that a file names stays below ``images/`` of the run folder, on any system."""
    parts = path.split("/")
    return (
        parts[0] == "images" and len(parts) > 1 and not {"", ".", ".."} & {*parts} and not {"\\", "\0"} & {*path}
    )


def is_file(path: Path) -> bool:
    """Whether a file lies there that may be read: no link, no pipe."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise FolderError(f"{folder} cannot be read: {error.strerror or error}") from None


def _require(entry: os.DirEntry[str], kind: str) -> None:
    """Refuse a link, and what is not of the kind, where one is named."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # a temp file of a run that goes on
        return
    if _is_link(status):
        raise _leads_outside(entry)
    found = "a folder" if stat.S_ISDIR(status.st_mode) else "a file"
    if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        found = "a pipe, a socket or a device"
    if kind not in ("", found):
        raise ForeignFolder(f"{entry.path} is {found}, and {kind} belongs there; move it away")
    if entry.name == "lock" and status.st_nlink > 1 and status.st_size > 0:  # ours is empty
        raise ForeignFolder(
            f"{entry.path} has a second name elsewhere, and taking the lock may empty it; remove it"
        )


def _refuse_links_to_folders(top: Path) -> None:
    """Of files there may be links: they are replaced and moved as links."""
    pending = [top]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.is_symlink():
                if not os.path.isfile(entry.path):  # noqa: PTH113 - as scandir, without a Path for every image
                    raise _leads_outside(entry)
            elif entry.is_dir():
                _require(entry, "a folder")
                pending.append(Path(entry.path))


def _is_link(status: os.stat_result) -> bool:
    """A symbolic link, or a junction of Windows."""
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)
    return stat.S_ISLNK(status.st_mode) or (
        junction is not None and getattr(status, "st_reparse_tag", None) == junction
    )


def _leads_outside(entry: os.DirEntry[str]) -> ForeignFolder:
    return ForeignFolder(
        f"{entry.path} is a link, and what a run keeps is not read or written through links. Remove it; to have "
        "the pictures on another disk, make the run folder as a whole a link, or the folder that it is in"
    )
