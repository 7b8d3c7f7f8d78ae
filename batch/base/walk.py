"""All files below a folder, however deep: a folder may come from somebody who made it a thousand deep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from batch.base.drives import SILLY


def files_below(top: Path, *, hidden: bool = True) -> Iterator[Path]:
    """Every file, those of a folder by name before what is in its folders.

    Links are left out, and so are files that are deleted already and what cannot be listed; without ``hidden``
    what begins with a dot too.
    """
    pending = [str(top)]
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            continue
        inner = []
        for entry in entries:
            if entry.is_symlink() or entry.name.startswith(SILLY if hidden else "."):
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.path)
            else:
                yield Path(entry.path)
        pending += reversed(inner)
