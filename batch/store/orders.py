"""What other processes ask of a run that goes on: files in ``.run/orders``, and what the run answers there.

An order is a file, written whole, that the run takes away when it has read it; its name says when it was given.
It is for one holder of the folder's lock, whose token it carries: one that is older than the run, or was meant for
another, is swept and obeyed by nobody. The folder is there only when something was ordered. Looked for by listing:
nothing else works on every system and on network drives.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from typing_extensions import TypedDict

from batch.base import atomic, drives
from batch.base.errors import FolderLost
from batch.base.text import one_line
from batch.store import files, inside

FOLDER, ANSWER = "orders", "answer.json"
_NAME = re.compile(r"\d{20}-[0-9a-f]{8}\.json")

LETTERS = 80
"""Of whoever gave an order, who may be anybody, as many are kept."""

MOST = 100
"""Orders taken at one look; more are looked at the next time."""


class OrderKind(StrEnum):
    """What can be asked of a run."""

    STOP = "stop"
    """Finish the image at work, and start none."""
    DROP = "drop"
    """Stop, and drop the image at work."""
    PAUSE = "pause"
    RESUME = "resume"


class AnswerState(StrEnum):
    """What a run that was asked is at."""

    RUNNING = "running"
    PAUSING = "pausing"
    """As soon as the image at work is finished."""
    PAUSED = "paused"
    STOPPING = "stopping"


class _Written(TypedDict):
    order: OrderKind
    token: str
    """Of the lock's holder that it is for."""
    by: str


@dataclass(frozen=True, slots=True)
class Order:
    """One order, and who gave it, for people."""

    kind: OrderKind
    by: str


class OrderAnswer(TypedDict):
    """What the run says, anew whenever that changes and every few seconds."""

    token: str
    state: AnswerState
    text: str
    """For people."""
    at: float
    """When it was said, in seconds since 1970: it lives that long at least."""


def give(state: Path, kind: OrderKind, token: str) -> Path:
    """Ask the run that holds a folder's lock with that token; the file that is there until it has heard.

    Raises OSError.
    """
    path = state / FOLDER / f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
    order = _Written(order=kind, token=token, by=f"`stop` on {platform.node()}")
    for _ in range(3):  # a run that ends removes the folder, perhaps at this very moment
        with suppress(FileNotFoundError):
            atomic.write(path, json.dumps(order).encode(), durable=False)
            return path
    raise FileNotFoundError(str(path.parent))


def waits(order: Path) -> bool:
    """Whether an order that was given lies there still."""
    drives.look_again(order.parent)
    return order.exists()


class Inbox:
    """The orders for one holder of the lock."""

    def __init__(self, state: Path, token: str) -> None:
        self._state, self._token = state, token
        self._taken: list[Path] = []
        self._left: set[Path] = set()
        """What cannot be removed: a folder that is not empty, or a file that somebody holds open, on Windows."""

    def take(self) -> list[Order]:
        """What lies there for this holder and was not taken before, the oldest first.

        It lies there until :meth:`done` is called, so that whoever gave an order finds the answer when it is gone.
        """
        self._taken = [path for path in _files(self._state) if path not in self._left][:MOST]
        return [order for path in self._taken if (order := self._read(path)) is not None]

    def _read(self, path: Path) -> Order | None:
        with suppress(*files.UNREADABLE):
            if inside.is_file(path):  # what a link leads to is no order
                found = files.read(_Written, path)
                return Order(found["order"], _short(found["by"])) if found["token"] == self._token else None
        return None

    def done(self) -> None:
        """Take away what was taken, whatever it is."""
        self._left.update(path for path in self._taken if not _removed(path))
        self._taken = []

    def answer(self, doing: AnswerState, text: str) -> None:
        """Say what the run is at. Never raises OSError: it goes on without being understood."""
        said = OrderAnswer(token=self._token, state=doing, text=text, at=time.time())
        with suppress(OSError, FolderLost):
            inside.require_here(self._state.parent, self._state / FOLDER / ANSWER)
            atomic.write(self._state / FOLDER / ANSWER, json.dumps(said).encode(), durable=False)


def _short(by: str) -> str:
    by = one_line(by.strip())
    return by if len(by) <= LETTERS else f"{by[: LETTERS - 1]}…"


def answered(state: Path, token: str) -> OrderAnswer | None:
    """What the run with that token said last; None where it was asked for nothing yet."""
    path = state / FOLDER / ANSWER
    drives.look_again(path.parent)
    with suppress(*files.UNREADABLE):
        if inside.is_file(path):
            said = files.read(OrderAnswer, path)
            return said if said["token"] == token else None
    return None


def clear(state: Path) -> None:
    """Remove all of it when a run ends, as far as it can be. Call it under the folder's lock."""
    with suppress(OSError, FolderLost):
        inside.require_here(state.parent, state / FOLDER / ANSWER)
        for path in [*_files(state), state / FOLDER / ANSWER]:
            _removed(path)
        (state / FOLDER).rmdir()


def _removed(path: Path) -> bool:
    """Remove a file, a link or an empty folder; whether it is gone."""
    for remove in (path.unlink, path.rmdir):
        try:
            remove()
        except FileNotFoundError:
            return True
        except OSError:
            continue
        return True
    return False


def _files(state: Path) -> list[Path]:
    """The orders there are, the oldest first; none where the folder has become a link."""
    drives.look_again(state / FOLDER)
    try:
        names = sorted(filter(_NAME.fullmatch, os.listdir(state / FOLDER)))  # noqa: PTH208 - names alone
        inside.require_here(state.parent, state / FOLDER / ANSWER)
    except (OSError, FolderLost):
        return []
    return [state / FOLDER / name for name in names]
