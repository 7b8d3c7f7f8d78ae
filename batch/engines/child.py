"""The worker process: a session and its saver, fed through a pipe. It ends with its parent, however that ends."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, BinaryIO

from tqdm import tqdm

from batch.base import atomic
from batch.base.errors import BatchError
from batch.engines.messages import (
    Assignment,
    Begin,
    Bye,
    Drain,
    DumpStacks,
    Ended,
    Idle,
    Move,
    Ready,
    Stop,
)
from batch.records.events import Beat, Event, Happening
from batch.records.receipts import Outcome

if TYPE_CHECKING:
    from batch.engines.messages import (
        FromWorker,
        ToWorker,
    )
    from batch.engines.worker import Worker
    from batch.render.backend import Backend

ORPHANED = 71
"""Exit code when the parent is gone."""

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""What is rendered is on this machine: whatever a model names, the libraries ask nobody for more."""

DUMP_SIGNAL = getattr(signal, "SIGUSR1", None)
"""Asks for the stacks even when a thread holds the interpreter; Windows has no such signal."""


def main(
    pipe: Connection, log: Path, stacks: Path, devices: str | None, backend: Backend, shares: int = 1
) -> None:
    """Run until the parent says so or is gone; ``shares``: so many workers use the threads of the CPU."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):  # they reach the whole group; the parent decides
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    _redirect(log)
    os.environ.update(OFFLINE)  # before the libraries are imported, which read it then
    if shares > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // shares)))
    if sys.platform == "linux":  # also when no thread can run Python: in native code, or stopped
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process leaks, with a warning
    try:
        _Child(pipe, stacks, backend).serve(devices)
    except BatchError as error:
        _end(pipe, Ended(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must know
        _end(pipe, Ended(RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc()))


_PR_SET_PDEATHSIG = 1


def _redirect(log: Path) -> None:
    """Prints and warnings of libraries, and the last words of a crash, go to a file, not across the bars."""
    _print_into(log)
    sys.stdout = open(1, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
    faulthandler.enable(sys.stderr)


def _print_into(log: Path) -> None:
    with atomic.open_own(log) as target:
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)


def _end(pipe: Connection, last: Ended) -> None:
    try:
        pipe.send(last)
    except (OSError, ValueError, pickle.PicklingError):
        os._exit(ORPHANED)


def _dump_into(stacks: Path) -> BinaryIO:
    """Where the stacks go when they are asked for."""
    dump = atomic.open_own(stacks, empty=True)
    if DUMP_SIGNAL is not None:
        faulthandler.register(DUMP_SIGNAL, file=dump, all_threads=True)
    return dump


class _Child:
    def __init__(self, pipe: Connection, stacks: Path, backend: Backend) -> None:
        self._pipe = pipe
        self._dump = _dump_into(stacks)
        self._backend = backend
        self._inbox: SimpleQueue[ToWorker] = SimpleQueue()
        self._stop = threading.Event()

    def serve(self, devices: str | None) -> None:
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        offered = self._backend.devices(devices)
        device = offered.devices[0]
        kind = self._backend.describe(device).device
        self._say(Ready(device, kind, offered.devices, offered.note))
        from batch.engines.worker import Worker  # what renders and saves: the parent has no use for it

        worker: Worker | None = None
        while True:
            message = self._inbox.get()
            if isinstance(message, Bye):
                if worker is not None:
                    worker.close()
                return
            if isinstance(message, Move):
                self._move(message)
                continue
            if isinstance(message, Begin):
                warm = worker.leave() if worker is not None else None
                worker = Worker(message.spec, self._backend, self, self._stop, warm)
            elif worker is not None:
                self._do(worker, message)
            self._say(Idle())

    def _move(self, place: Move) -> None:
        """Print into the folder of another run from now on."""
        sys.stdout.flush()
        sys.stderr.flush()
        _print_into(place.log)
        old, self._dump = self._dump, _dump_into(place.stacks)
        old.close()

    def _do(self, worker: Worker, message: ToWorker) -> None:
        try:
            if isinstance(message, Assignment):
                if message.alone:
                    self._drain(worker)
                for outcome in worker.work(message):
                    self._say(outcome)
            if isinstance(message, Drain) or (isinstance(message, Assignment) and message.alone):
                self._drain(worker)
        except BatchError:
            # What is rendered is sound, whatever comes after it.
            self._drain(worker)
            raise

    def _drain(self, worker: Worker) -> None:
        for outcome in worker.drain():
            self._say(outcome)

    def on(self, event: Event) -> None:
        """What the worker tells goes to the parent."""
        assert isinstance(event, Beat | Happening | Outcome)
        self._say(event)

    def _say(self, message: FromWorker) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            os._exit(ORPHANED)

    def _listen(self) -> None:
        """Take what the parent says at any time; when it is gone, so is this process."""
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(ORPHANED)
            if isinstance(message, Stop):
                self._stop.set()
            elif isinstance(message, DumpStacks):
                faulthandler.dump_traceback(self._dump, all_threads=True)
            else:
                self._inbox.put(message)
