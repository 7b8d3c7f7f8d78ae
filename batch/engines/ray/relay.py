"""The host of one worker on its node: it starts the worker process, passes on what is said, and outlives it.

The worker is the very process that renders without Ray, at the other end of the same pipe. So a death has its exit
code and its last words here too, and nothing that the worker does to its interpreter keeps Ray waiting.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from batch.base import atomic
from batch.engines.death import Death
from batch.engines.handle import Handle
from batch.engines.messages import Begin, Bye, Stop
from batch.engines.ray import scratch
from batch.engines.ray.outbox import Outbox
from batch.engines.ray.parcels import Parcels
from batch.engines.ray.wire import Died, Hosted, Renew
from batch.store.embeds import EmbedCache
from batch.store.rungs import FILE

if TYPE_CHECKING:
    from batch.engines.ray.wire import Start, Told

END_S = 30.0
"""So long may a worker save that is to end."""

LISTEN_S = 1.0


class Relay:
    """Lives as long as the process that Ray has made for one device."""

    def __init__(self, start: bytes) -> None:
        self._start: Start = pickle.loads(start)
        _as_without_ray(self._start)
        self._home = scratch.make()
        os.chdir(self._home)  # where Ray was started may not be there for this process, and a worker begins in it
        self._state = self._home / ".run"
        self._out = Outbox()
        self._out.put(Hosted())
        self._parcels = Parcels(self._home)
        self._cache: EmbedCache | None = None
        self._next = 0
        self._early: dict[int, tuple[bytes, Sequence[bytes]]] = {}
        """Messages that have overtaken others."""
        self._handle: Handle | None = None
        self._orders: SimpleQueue[Renew | None] = SimpleQueue()
        self._there = threading.Event()
        """A worker has been started since one was asked for, or that has failed."""
        self._ended = threading.Event()
        # A process that ends with its parent ends with the thread that has started it: one that stays.
        threading.Thread(target=self._live, name="worker", daemon=True).start()

    def tell(self, number: int, data: bytes, parts: Sequence[bytes]) -> None:
        """A message to this host; they are numbered from 0, for they need not come in order."""
        self._early[number] = (data, parts)
        while (found := self._early.pop(self._next, None)) is not None:
            self._next += 1
            self._obey(*found)

    def hear(self, heard: int) -> tuple[int, list[bytes]]:
        """See :meth:`batch.engines.ray.outbox.Outbox.after`."""
        return self._out.after(heard)

    def stacks(self) -> str:
        """Where every thread of the worker is; empty when it cannot be had."""
        return self._handle.stacks() if self._handle is not None else ""

    def kill(self) -> None:
        """End the worker at once."""
        if self._handle is not None:
            self._handle.kill()

    def close(self) -> None:
        """Let the worker end; there is none after it."""
        self._out.open_wide()
        self._orders.put(None)
        if self._handle is not None:
            self._handle.send(Stop())
            self._handle.send(Bye())
        if not self._ended.wait(END_S) and self._handle is not None:
            self._handle.kill()
            self._ended.wait(END_S)
        scratch.remove(self._home)

    # Towards the worker

    def _obey(self, data: bytes, parts: Sequence[bytes]) -> None:
        order: Told | Renew = pickle.loads(data)
        if isinstance(order, Renew):
            self._there.clear()
            self._orders.put(order)
            return
        message = order.message
        if isinstance(message, Begin):
            message = self._begun(order, message)
        self._supply(order, parts)
        self._there.wait()  # it is for the worker that was asked for last
        if self._handle is not None:
            self._handle.send(message)

    def _begun(self, order: Told, begin: Begin) -> Begin:
        """The run as it is to be seen from here."""
        spec = begin.spec
        if not order.cache:
            self._cache = EmbedCache(Path(spec.cache))
        if order.apart:
            spec = replace(spec, root=str(self._home), held=None)
        self._parcels.begin(apart=order.apart, cache=self._cache)
        return Begin(spec)

    def _supply(self, order: Told, parts: Sequence[bytes]) -> None:
        """Put in its place what comes with a message. What has no room is missed where it is needed."""
        with suppress(OSError):
            for name, data in zip(order.embeds, parts, strict=True):
                if self._cache is not None and not self._cache.has(name):
                    self._cache.write(name, data)
                self._parcels.known(name)
            if order.rungs is not None:
                atomic.write(self._state / FILE, order.rungs)
                self._parcels.rungs = order.rungs

    # From the worker

    def _live(self) -> None:
        """One worker after the other."""
        order: Renew | None = Renew()
        while order is not None:
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001 - no worker can be started: whatever it is, the run must know
                self._out.put(Died(Death(f"{type(error).__name__}: {error}", "")))
                self._there.set()
            order = self._orders.get()
        self._ended.set()

    def _serve(self) -> None:
        """Start a worker and pass on what it says until it is gone."""
        self._handle = handle = Handle(self._state, self._start.devices, self._start.backend)
        self._there.set()
        while True:
            wait([handle.connection], LISTEN_S)
            try:
                message = handle.receive()
            except EOFError:
                break
            if message is not None:
                for item in self._parcels.of(message):
                    self._out.put(item)
        death = handle.death()
        for item in self._parcels.left():
            self._out.put(item)
        self._out.put(Died(death))


def _as_without_ray(start: Start) -> None:
    """Undo for the worker what Ray does to its own process."""
    if start.devices != "cpu":  # Ray lets a worker that takes a GPU and no CPU have one thread
        os.environ.pop("OMP_NUM_THREADS", None)
        if start.threads is not None:
            os.environ["OMP_NUM_THREADS"] = start.threads
    # A new process would run Ray's own main module once more.
    with suppress(AttributeError):
        del sys.modules["__main__"].__file__
