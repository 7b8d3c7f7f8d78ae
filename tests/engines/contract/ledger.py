"""A stand-in session that writes down what it is asked to do, over all processes of all runs of a test.

So that a test can count: how often an image was denoised, a text encoded, and by whom. On request it waits for a
file, or dies where a fault cannot strike: behind a commit, or a moment after an image was begun.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from batch.records.receipts import Machine
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.render.backend import Offered
from tests.fake_session import FakeBackend, FakeSession

WAIT_S = 60.0
"""What never comes is a failure of the test, not a hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that was begun."""

    stage: str
    key: str
    """An image's id, a text's key."""
    pid: int
    at: float
    """Seconds since 1970."""
    device: str = ""
    steps: tuple[str, ...] = ()
    """The memory setting."""


class Ledger:
    """What was begun, in a folder with a file for each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def note(self, entry: Entry) -> None:
        """One line, whole or not at all, whatever becomes of the process."""
        line = json.dumps(asdict(entry)).encode() + b"\n"
        with (self.folder / f"{entry.pid}.jsonl").open("ab", buffering=0) as file:
            file.write(line)

    def entries(self, stage: str = "") -> list[Entry]:
        """In the order in which they began; of one stage, or of all."""
        found = [Entry(**json.loads(line)) for path in self.folder.glob("*.jsonl") for line in _lines(path)]
        return sorted((item for item in found if stage in ("", item.stage)), key=lambda item: item.at)

    def times(self, stage: str) -> Counter[str]:
        """How often each image, or text, came to a stage."""
        return Counter(item.key for item in self.entries(stage))

    def pids(self) -> set[int]:
        """The processes that rendered."""
        return {item.pid for item in self.entries()}


def _lines(path: Path) -> Iterator[str]:
    return (line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Images that are denoised when a file is there."""

    file: str
    """As a pattern below ``root``."""
    root: str
    but: int = -1
    """Those of this seed do not wait."""

    def until(self, task: Task) -> None:
        """Stand still, at most :data:`WAIT_S`."""
        if task.seed != self.but:
            wait_for(Path(self.root), self.file)


def wait_for(root: Path, pattern: str) -> None:
    """Until there is such a file."""
    end = time.monotonic() + WAIT_S
    while not any(root.glob(pattern)):
        if time.monotonic() > end:
            raise TimeoutError(f"{pattern} never came")
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class LedgerBackend:
    """A :class:`tests.fake_session.FakeBackend` that keeps a ledger."""

    inner: FakeBackend
    ledger: str
    root: str = ""
    """The run folder."""
    dies_behind: str = ""
    """The worker dies when the image of this id is committed, and nobody was told of it; once."""
    dies_after: int = 0
    """A worker dies at its second to so manieth image, somewhere on the way; 0: never."""
    waits: tuple[Wait, ...] = field(default=())

    def devices(self, asked: str | None, /) -> Offered:
        return self.inner.devices(asked)

    def cap(self, device: str, limit: int, /) -> str:
        return self.inner.cap(device, limit)

    def describe(self, device: str, /) -> Machine:
        return self.inner.describe(device)

    def open(self, source: ModelSource, dtype: str, device: str, /, *, measure: bool = False) -> LedgerSession:
        return LedgerSession(source, self, device)


class _Gated(np.ndarray):
    """Pixels that are saved when the next image is about to be rendered."""

    gate: threading.Event

    @property
    def __array_interface__(self):
        assert self.gate.wait(WAIT_S), "the worker was given nothing else"
        return np.asarray(self).__array_interface__


class LedgerSession(FakeSession):
    """Writes down what it begins."""

    def __init__(self, source: ModelSource, backend: LedgerBackend, device: str) -> None:
        super().__init__(source, backend.inner.faults, backend.inner.times)
        self._backend, self._device = backend, device
        self._ledger = Ledger(Path(backend.ledger))
        self._gate: threading.Event | None = None
        self._left = random.Random(os.getpid()).randint(2, backend.dies_after) if backend.dies_after else 0

    def _note(self, stage: str, key: str, steps: Sequence[object] = ()) -> None:
        entry = Entry(
            stage=stage, key=key, pid=os.getpid(), at=time.time(), device=self._device,
            steps=tuple(map(str, steps)),
        )  # fmt: skip
        self._ledger.note(entry)

    def encode(self, task: EncodeTask, beat):
        self._note("encode", task.key, task.memory_steps)
        return super().encode(task, beat)

    def denoise(self, tasks, embeds, steps, beat):
        assert all(all(texts) for texts in embeds), "an image without its texts"
        for task in tasks:
            if self._gate is not None:
                self._die_behind_a_commit()
            self._note("denoise", task.id, steps)
            self._die_some_day()
            for wait in self._backend.waits:
                wait.until(task)
        return super().denoise(tasks, embeds, steps, beat)

    def decode(self, task, latents, steps, beat, *, float32=False):
        self._note("decode", task.id, steps)
        made = super().decode(task, latents, steps, beat, float32=float32)
        if task.id == self._backend.dies_behind and self._ledger.times("decode")[task.id] == 1:
            self._gate = threading.Event()
            pixels = made.value.view(_Gated)
            pixels.gate = self._gate
            return replace(made, value=pixels)
        return made

    def _load(self, part):
        if self._loaded != part:
            self._note("load", self._source.name)
        super()._load(part)

    def _die_behind_a_commit(self) -> None:
        self._gate.set()
        wait_for(Path(self._backend.root), f".run/receipts/*/{self._backend.dies_behind}.json")
        _die()

    def _die_some_day(self) -> None:
        """Within thirty milliseconds of the image at which this worker dies: rendering, saving, or beside both."""
        if self._left == 0:
            return
        self._left -= 1
        if self._left == 0:
            threading.Timer(random.Random(os.getpid()).uniform(0, 0.03), _die).start()


def _die() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
