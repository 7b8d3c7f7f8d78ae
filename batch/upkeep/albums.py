"""The images of a run folder, and all the names that people may call one by."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from unicodedata import normalize

from batch.records.kinds import Status
from batch.store.folder import RunFolder
from batch.store.images.reading import suffixes
from batch.store.unnamed import ids_in

if TYPE_CHECKING:
    from batch.records.tasks import Task
    from batch.store.receipts import Scan

Names = Mapping[str, frozenset[str]]
"""Ids of tasks by what they are called."""


@dataclass(frozen=True, eq=False)
class Album:
    """The tasks of the last plan of a run folder, and what became of them."""

    folder: RunFolder
    tasks: list[Task]
    scan: Scan

    @classmethod
    def opened(cls, root: Path) -> Album:
        """Raises :class:`~batch.base.errors.UserError` where that is no run folder."""
        folder = RunFolder(root)
        folder.require()
        return cls(folder, folder.tasks(), folder.scan())

    @property
    def root(self) -> Path:
        """The run folder, as it was named."""
        return self.folder.root

    @cached_property
    def tops(self) -> frozenset[str]:
        """How paths in it begin, as they are written and with links followed."""
        return frozenset(os.path.join(top, "") for top in (self.root.absolute(), self.root.resolve()))  # noqa: PTH118

    @cached_property
    def by_id(self) -> Mapping[str, Task]:
        """Every task of the plan, and those that are still there from earlier plans."""
        before = {key: receipt.task for key, receipt in self.scan.receipts.items()}
        return before | {task.id: task for task in self.tasks}

    def state(self, task_id: str) -> str:
        """``done``, ``failed`` or ``missing``."""
        if task_id in self.scan.receipts:
            return Status.DONE
        return Status.FAILED if task_id in self.scan.failures else "missing"

    def path(self, task_id: str) -> str:
        """Where an image lies, relative to the run folder, or how it is called while it is not there."""
        receipt = self.scan.receipts.get(task_id)
        return receipt.file.path if receipt else self.by_id[task_id].name

    def called(self, text: str) -> Iterator[frozenset[str]]:
        """The ids of the images that a text may mean: by ever less of it, the surest first.

        Where it lies now; its name in the plan or its id; its file's name; a copy of it; the digits of its id that
        are in a name.
        """
        text = normalize("NFC", text)
        last = text.rpartition("/")[2]
        yield self._places.get(text, frozenset())
        yield self._names.get(text, frozenset()) | self._names.get(stem(text), frozenset())
        yield self._files.get(stem(last), frozenset())
        yield self._copies.get(text, frozenset()) or self._copies.get(stem(last), frozenset())
        digits = ids_in(last)
        yield frozenset().union(*(self._ids.get(key, frozenset()) for key in digits))

    @cached_property
    def _places(self) -> Names:
        return _named((receipt.file.path, key) for key, receipt in self.scan.receipts.items())

    @cached_property
    def _names(self) -> Names:
        pairs = [(stem(self.path(key)), key) for key in self.by_id]
        names = [
            (name, key) for key, task in self.by_id.items() for name in (key, task.name, f"images/{task.name}")
        ]
        moved = [(path.removeprefix("images/"), key) for path, key in pairs]
        return _named([*pairs, *names, *moved])

    @cached_property
    def _files(self) -> Names:
        pairs = [(stem(self.path(key)), key) for key in self.by_id]
        planned = [(task.name, key) for key, task in self.by_id.items()]
        return _named((path.rpartition("/")[2], key) for path, key in [*pairs, *planned])

    @cached_property
    def _copies(self) -> Names:
        """Files that somebody has copied below ``images/``, which are read whole."""
        found = self.folder.unnamed(self.folder.image_files(), self.scan, self.tasks, saving=False)
        copies = [(path, receipt.task.id) for path, receipt in {**found.copies, **found.extra}.items()]
        return _named(pair for path, key in copies for pair in ((path, key), (stem(path.rpartition("/")[2]), key)))

    @cached_property
    def _ids(self) -> Names:
        return _named((name, key) for key in self.by_id for name in (key, key[:8]))


def stem(path: str) -> str:
    """A path without the suffix of an image."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) if suffix.lower() in suffixes() else path


def _named(pairs: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> Names:
    found: dict[str, set[str]] = {}
    for name, key in pairs:
        found.setdefault(normalize("NFC", name), set()).add(key)
    return {name: frozenset(keys) for name, keys in found.items()}
