"""The workers of a run folder, ``.run/workers.json``, so that the next run can end one that outlived its own.

A worker ends with its parent. One that was stopped before it could hear of that stays, with what it holds. A
folder may come from anywhere, and so may its files: the file says where to look, and what a process carries
(:mod:`batch.base.orphans`) decides whether it is a worker of this very folder without a parent. Whoever writes the
file can name no other, and such a worker is to be ended, whoever names it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from batch.base import atomic, orphans, shell
from batch.store import files, lock

if TYPE_CHECKING:
    import psutil

    from batch.base.orphans import Orphan

FILE = "workers.json"


class NotedWorker(TypedDict):
    """A process that was started for a folder."""

    pid: int | None
    """None before it has started: whoever noted that may have been killed before it knew the number."""
    started: float
    """Seconds since 1970, as the system says it; 0 before."""
    parent: int
    host: str
    boot: str
    """Which start of the machine it was; "" where the system does not say."""
    command: str
    """What started it, without the addresses of who is told."""


class _Workers(TypedDict):
    workers: list[NotedWorker]


def note(state: Path, pid: int | None, parent: int) -> None:
    """Write a worker down, before it starts and when it has.

    Never raises OSError: a worker that is not noted renders as well.
    """
    import psutil

    with suppress(OSError, psutil.Error):
        started = 0.0 if pid is None else psutil.Process(pid).create_time()
        others = [worker for worker in _read(state) if worker["pid"] is not None or not _is_here(worker)]
        worker = NotedWorker(
            pid=pid, started=started, parent=parent, host=platform.node(), boot=lock.boot(), command=shell.typed()
        )
        _write(state, [*others, worker])


def forget(state: Path, pid: int) -> None:
    """It has ended."""
    workers = _read(state)
    left = [worker for worker in workers if worker["pid"] != pid or not _is_here(worker)]
    if left != workers:
        with suppress(OSError):
            _write(state, left)


def left_over(state: Path) -> tuple[Orphan, ...]:
    """Workers of earlier runs that are still there; also while a run goes on, whose worker is none of them."""
    return tuple(orphan for worker in _read(state) for _, orphan in _look(state, worker))


def end_left_over(state: Path) -> Iterator[tuple[Orphan, str]]:
    """End them, each with why that failed, "" where it did not. Call it under the folder's lock."""
    workers = _read(state)
    left = [worker for worker in workers if not _is_here(worker)]  # theirs to end, when a run begins there
    for worker in workers:
        for process, orphan in _look(state, worker):
            why = "only its user can end it" if orphan.user else orphans.end(process)
            if why:
                left.append(worker)
            yield orphan, why
    if left != workers or not left:  # a file that cannot be read names nobody
        with suppress(OSError):
            _write(state, left)


def _look(state: Path, worker: NotedWorker) -> Iterator[tuple[psutil.Process, Orphan]]:
    """The process, if it is what the file says, and without a parent."""
    import psutil

    folder = str(state.parent.resolve())
    for process in _candidates(worker) if _is_here(worker) else ():
        with suppress(psutil.Error, OSError):
            try:
                orphan = orphans.of(process)
            except psutil.AccessDenied:
                orphan = None if worker["pid"] is None else orphans.of_another(process, worker["parent"])
            if orphan is not None and (orphan.user or folder in (orphan.folder, *orphan.later)):
                yield process, orphan


def _candidates(worker: NotedWorker) -> Iterator[psutil.Process]:
    """The process with that number and that start; all there are, where the number is not known."""
    import psutil

    if worker["pid"] is None:
        yield from psutil.process_iter()
        return
    with suppress(psutil.Error, ValueError, OverflowError):  # gone, or a number that is no process
        process = psutil.Process(worker["pid"])
        if abs(process.create_time() - worker["started"]) <= lock.SLACK_S:
            yield process


def _is_here(worker: NotedWorker) -> bool:
    return (worker["host"], worker["boot"]) == (platform.node(), lock.boot())


def _read(state: Path) -> list[NotedWorker]:
    with suppress(*files.UNREADABLE):
        return files.read(_Workers, state / FILE)["workers"]
    return []


def _write(state: Path, workers: list[NotedWorker]) -> None:
    """Without a sync: what it names is gone when the machine is."""
    if workers:
        atomic.write(state / FILE, json.dumps({"workers": workers}, indent=1).encode(), durable=False)
    else:
        (state / FILE).unlink(missing_ok=True)
