"""Runs that divide a folder: who is at work there, and that they divide it in one way.

Each shard holds a lock of its own, in ``.run/shards/2-of-8``, where all lies that only its run writes. A run of
the whole and a shard look for one another when they hold their own, so of two that begin together at least one
gives way. Shards begin one after the other, through a gate, where they settle what they have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from batch.base import disk
from batch.base.errors import FolderLocked
from batch.records.reading import to_json
from batch.records.shard import Shard
from batch.store import files, holders, lock

if TYPE_CHECKING:
    from batch.records.tasks import Task
    from batch.store.holders import Holder

FOLDER, DIVISION, GATE = "shards", "division.json", "gate.lock"

GATE_S = 120.0
"""Seconds: many shards that begin together pass one after the other, and the first one clears up."""

LOOKS, LOOK_S = 10, 0.2
"""A command that needs the whole folder has its lock for a moment before it sees that shards are at work."""

_NAME = re.compile(r"([1-9]\d{0,5})-of-([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """How a folder is divided, ``division.json``."""

    of: int
    plan: str
    """What tells the divided plan from others: :func:`fingerprint`."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run that goes on in a folder."""

    holder: Holder
    state: Path
    """Where its lock, its orders and what it says of itself lie."""
    shard: Shard | None = None
    """None: the whole is its."""


def own_state(state: Path, shard: Shard | None) -> Path:
    """Where all lies that only this run writes."""
    return state if shard is None else state / FOLDER / shard.name


def states(state: Path) -> list[tuple[Shard, Path]]:
    """The shards that were ever begun here, in order, each with where its own files lie."""
    found = ((match, path) for path in (state / FOLDER).glob("*-of-*") if (match := _NAME.fullmatch(path.name)))
    return sorted((Shard(int(match[1]), int(match[2])), path) for match, path in found)


def at_work(state: Path) -> list[Running]:
    """The shards that are at work, as far as can be seen from here."""
    found = ((shard, path, lock.holder(path)) for shard, path in states(state))
    return [Running(who, path, shard) for shard, path, who in found if who is not None]


def running(state: Path) -> list[Running]:
    """Every run that goes on in a folder."""
    who = lock.holder(state)
    return [*([Running(who, state)] if who is not None else []), *at_work(state)]


def fingerprint(tasks: Iterable[Task]) -> str:
    """The same for two plans of the same images in the same order."""
    found = sha256()
    for task in tasks:
        found.update(task.id.encode() + b"\n")
    return found.hexdigest()[:16]


def division(state: Path) -> Division | None:
    """How the folder was divided last; None where it was not, or nobody can tell."""
    try:
        return files.read(Division, state / DIVISION)
    except files.UNREADABLE:
        return None


def divide(state: Path, found: Division, runner: str) -> None:
    """Write down how the folder is divided now. Call it in the gate."""
    files.write(state / DIVISION, to_json(found), runner)


def undivide(state: Path) -> None:
    """From now on it is one again. Call it under the lock of the whole."""
    (state / DIVISION).unlink(missing_ok=True)


@contextmanager
def gate(state: Path) -> Iterator[None]:
    """Only one shard begins at a time. Raises :class:`FolderLocked` where one never comes through."""
    passing = FileLock(state / FOLDER / GATE)
    with disk.must_be_writable(state.parent):
        (state / FOLDER).mkdir(parents=True, exist_ok=True)
        try:
            passing.acquire(timeout=GATE_S)
        except Timeout:
            raise FolderLocked(f"{state.parent} is in use by a shard that has begun, and does not go on") from None
    try:
        yield
    finally:
        passing.release()


def refuse_the_whole(state: Path) -> None:
    """Raise :class:`FolderLocked` where a run without ``--shard`` is at work."""
    for _ in range(LOOKS):
        if (who := lock.holder(state)) is None:
            return
        sleep(LOOK_S)
    assert who is not None
    raise FolderLocked(
        f"{state.parent} is in use as a whole, so no shard can run there: by {holders.in_use(state, who)}"
    )


def refuse_shards(state: Path) -> None:
    """Raise :class:`FolderLocked` where shards are at work."""
    if found := at_work(state):
        raise FolderLocked(
            f"{state.parent} is in use by {told(found)}; what needs the whole folder waits for them, "
            f"or `stop {state.parent}`, which stops all of them"
        )


def told(found: list[Running]) -> str:
    """``shard 2/8 on node7 (process 4711)`` for people; of many the first three."""
    named = [f"shard {item.shard} on {holders.place(item.holder)}" for item in found[:3]]
    more = f" and {len(found) - 3} more" if found[3:] else ""
    return ", ".join(named) + more


def refuse_other_divisions(state: Path, shard: Shard, plan: str, *, finished: bool) -> None:
    """Raise :class:`FolderLocked` where the folder is divided otherwise. Call it in the gate.

    Two divisions at a time render images twice, and one that was left in the middle leaves gaps: ``finished`` is
    whether the images of the last plan are all there or have failed.
    """
    others = [item for item in at_work(state) if item.shard != shard]
    if unlike := [item for item in others if item.shard and item.shard.of != shard.of]:
        raise FolderLocked(
            f"{state.parent} is divided otherwise just now, by {told(unlike)}: --shard {shard} would render "
            "images twice. Use the same number of shards for all"
        )
    before = division(state)
    if others and before is not None and before.plan != plan:
        raise FolderLocked(
            f"{state.parent} is at work on another plan, by {told(others)}: the manifest, --set or a file that it "
            "names has changed since they began. Let them end, or `stop` them, and begin all shards anew"
        )
    if before is not None and before.of != shard.of and not finished:
        raise FolderLocked(
            f"{state.parent} was begun as {before.of} shards, and not all of their images are there: "
            f"--shard {shard} divides it otherwise. Go on with --shard I/{before.of}, or run it whole, without "
            f"--shard. If none of the {before.of} will run again, delete {state / DIVISION}"
        )
