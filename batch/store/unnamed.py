"""Image files below ``images/`` that no receipt names: copies of pictures that are there, exports, orphans."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import walk
from batch.records.receipts import Receipt
from batch.records.tasks import Task
from batch.store.images import reading
from batch.store.pictures import image_path
from batch.store.touched import originals, untaken, with_bar

if TYPE_CHECKING:
    from batch.store.images.looks import Looks

_ID = re.compile(r"(?<![0-9a-z])[0-9a-f]{8}(?:[0-9a-f]{8})?(?![0-9a-z])")
"""What the name of an image ends with; programs that copy and export put words of theirs behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnamed:
    """Files by path relative to the run folder, each in one of three."""

    copies: Mapping[str, Receipt]
    """Of pictures that the manifest names."""
    extra: Mapping[str, Receipt]
    """Copies of those that it does not name any more."""
    orphans: Mapping[str, str]
    """The others, with why."""


def paths(files: Iterable[Path], root: Path, known: Iterable[str], pending: Iterable[Task]) -> list[str]:
    """Image files that are not ``known``, as paths relative to the run folder.

    Left out too are those of ``pending`` tasks: a runner may be about to write their receipts, or these are
    damaged, which is said already.
    """
    return untaken(files, root, {*known, *map(image_path, pending)})


def sort_out(
    paths: Collection[str], receipts: Iterable[Receipt], planned: Collection[str], looks: Looks
) -> Unnamed:
    """Tell whole files that are a picture of the ``receipts``, or bear the name of one, from all others.

    ``planned`` are the ids that the manifest names.
    """
    if not paths:
        return Unnamed(copies={}, extra={}, orphans={})
    there = sorted(receipts, key=lambda receipt: receipt.task.id in planned)  # of two, the last one counts
    found = originals(with_bar(paths), there, looks)
    by_id = {key: receipt for receipt in there for key in (receipt.task.id, receipt.task.id[:8])}
    orphans = {}
    for path in paths:
        seen = looks.at(path)
        if seen is None or seen.error:
            found.pop(path, None)
            orphans[path] = "no receipt names it" + (f", and it is no whole picture: {seen.error}" if seen else "")
        elif path not in found:
            named = [by_id[key] for key in ids_in(Path(path).name) if key in by_id]
            if named:
                found[path] = named[-1]
            else:
                orphans[path] = "no receipt names it"
    copies = {path: receipt for path, receipt in found.items() if receipt.task.id in planned}
    extra = {path: receipt for path, receipt in found.items() if path not in copies}
    return Unnamed(copies=copies, extra=extra, orphans=orphans)


def ids_in(name: str) -> list[str]:
    """What may be ids of tasks, or their first eight digits, in the name of a file."""
    return _ID.findall(name)


def not_looked_at(images: Path, tasks: Iterable[Task]) -> Iterator[str]:
    """Files with the name of an image of the tasks that are hidden, or whose suffix is none of an image."""
    ids = {key for task in tasks for key in (task.id, task.id[:8])}
    suffixes = reading.suffixes()
    for path in walk.files_below(images):
        relative = path.relative_to(images.parent)
        hidden = any(part.startswith(".") for part in relative.parts)
        if (hidden or path.suffix.lower() not in suffixes) and ids.intersection(ids_in(path.name)):
            yield relative.as_posix()
