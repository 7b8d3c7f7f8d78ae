"""What a node is asked before it renders: its versions, which folders it sees, and to have the models."""

from __future__ import annotations

import hashlib
import pickle
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from batch import __version__
from batch.base import regular
from batch.base.cache import default_folder
from batch.base.errors import BatchError
from batch.engines.ray import belongings, scratch
from batch.engines.ray.wire import Fetched
from batch.hub.downloads import FetchOptions
from batch.hub.ensure import ensure
from batch.records.events import Downloading, Event, Received

if TYPE_CHECKING:
    from batch.engines.ray.wire import Fetch, Probe

PROBED_S = 5.0
"""A network folder may show a new file so late."""

HEARD_S = 10.0
PROGRAM = "run_batch"
LIBRARIES = ("torch", "diffusers", "transformers")


def versions() -> Mapping[str, str]:
    """What pictures depend on, by name. Of torch without its build: CPU or CUDA."""
    found = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", PROGRAM: _program()}
    return {**found, **{name: _version(name) for name in LIBRARIES}}


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "none"


@cache
def _program() -> str:
    """The program's version, with a hash of its code: two checkouts have one version, and other messages."""
    hashed = hashlib.sha256()
    root = Path(__file__).resolve().parents[2]
    for path in sorted(root.rglob("*.py")):
        hashed.update(path.relative_to(root).as_posix().encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return f"{__version__} ({hashed.hexdigest()[:8]})"


class Survey:
    """One node, as its own process sees it."""

    def __init__(self) -> None:
        scratch.sweep()
        self._condition = threading.Condition()
        self._told: deque[Event] = deque()

    def cache(self) -> str:
        """The folder of embeddings here."""
        return str(default_folder())

    def probe(self, data: bytes) -> bool:
        """Whether a folder is the one that it is for the run; then its answer lies there."""
        asked: Probe = pickle.loads(data)
        if not reads(Path(asked.path), asked.token):
            return False
        try:
            Path(asked.path + asked.answer).write_text(asked.token[::-1], encoding="ascii")
        except OSError:  # to be read only
            return False
        return True

    def fetch(self, data: bytes) -> bytes:
        """Have all of a :class:`Fetch` here; a :class:`Fetched`."""
        asked: Fetch = pickle.loads(data)
        try:
            how = FetchOptions(listener=self)
            ensure(asked.models, how)
            sources = {model.name: belongings.model(model) for model in asked.models}
            return pickle.dumps(Fetched(sources, belongings.beside(asked.beside, how)))
        except BatchError as error:
            return pickle.dumps(Fetched(error=error))

    def on(self, event: Event) -> None:
        """What a download tells."""
        with self._condition:
            if isinstance(event, Received) and self._told and isinstance(self._told[-1], Received):
                self._told.pop()
            if isinstance(event, Downloading | Received):
                self._told.append(event)
            self._condition.notify_all()

    def hear(self) -> list[bytes]:
        """What it told since the last call; waits for something."""
        with self._condition:
            self._condition.wait_for(lambda: self._told, HEARD_S)
            said = [pickle.dumps(event) for event in self._told]
            self._told.clear()
        return said


def reads(path: Path, token: str) -> bool:
    """Whether a file holds just that, by and by."""
    deadline = time.monotonic() + PROBED_S
    while True:
        try:
            if regular.read(path, 1000) == token.encode("ascii"):
                return True
        except (OSError, ValueError):
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
