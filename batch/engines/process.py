"""The session lives in a process of its own; this one watches it, and lives on when it dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch.base.errors import CannotGoOn, Interrupted, StoppedEarly, UserError
from batch.engines.base import Helm, admit_all, no_texts
from batch.engines.death import Death
from batch.engines.handle import Handle
from batch.engines.messages import Ended, Ready
from batch.engines.patience import FIRST_S
from batch.engines.supervision import LOADS, Supervision
from batch.records.events import Listener, Seat
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Texts
    from batch.engines.keep import Keep
    from batch.render.backend import Backend


class ProcessEngine:
    """One supervised worker process. ``state`` is where its log lies.

    ``keep`` is where a worker that a run before has left is taken from, and where this one goes.
    """

    def __init__(self, state: Path, backend: Backend, keep: Keep | None = None) -> None:
        self._state = state
        self._backend = backend
        self._keep = keep
        self._devices: str | None = None
        self._device = ""
        self._at_rest = False
        """All that the worker was given is saved, and it may serve another run."""
        self._stop = Helm()
        self._handle: Handle | None = None

    def start(self, devices: str | None, stop: Helm) -> tuple[Seat, ...]:
        """See :class:`~batch.engines.base.Engine`."""
        self._stop, self._devices = stop, devices
        kept = self._keep.take(self._state, devices, self._backend) if self._keep else None
        if kept is not None:
            self._handle, self._device = kept
        else:
            self._device = self._ready(devices)
        return (Seat(number=0, device=self._device, label=self._device),)

    def execute(
        self,
        tasks: Sequence[Task | EncodeTask],
        spec: RunSpec,
        listener: Listener,
        *,
        stop: Helm,
        admit: Admit = admit_all,
        check: Check = admit_all,
        texts: Texts = no_texts,
    ) -> Iterator[Outcome]:
        """See :class:`~batch.engines.base.Engine`."""
        self._at_rest = False
        yield from Supervision(self, tasks, spec, listener, stop=stop, admit=admit, check=check, texts=texts).run()
        self._at_rest = not spec.recycle_after

    def close(self) -> None:
        """See :class:`~batch.engines.base.Engine`."""
        if self._handle is None:
            return
        if self._keep is not None and self._at_rest:
            self._keep.put(self._handle, self._devices, self._backend, self._device)
        else:
            self._handle.close()
        self._handle = None

    @property
    def worker(self) -> Handle:
        """The process at work."""
        assert self._handle is not None
        return self._handle

    def renew(self) -> None:
        """A fresh worker on the same device. Raises :class:`StoppedEarly` when the device is gone."""
        self.close()
        try:
            self._ready(self._device)
        except UserError as error:
            raise StoppedEarly(f"the device {self._device} is gone: {error}") from None

    def _ready(self, devices: str | None) -> str:
        """A worker that is ready; another when the first one dies on the way. Its device."""
        for attempt in range(LOADS):
            device = self._spawn(devices)
            if not isinstance(device, Death):
                return device
            if attempt == LOADS - 1:
                raise CannotGoOn(f"the worker process ended before it was ready: {device.why}")
        raise AssertionError("unreachable")

    def _spawn(self, devices: str | None) -> str | Death:
        later = self._keep.after(self._state.parent) if self._keep else ()
        self._handle = handle = Handle(self._state, devices, self._backend, later)
        start = monotonic()
        while monotonic() - start < FIRST_S:
            try:
                message = handle.receive()
            except EOFError:
                death = handle.death()
                self._check_stop(handle)
                return death
            if isinstance(message, Ready):
                return message.device
            if isinstance(message, Ended):
                handle.death()
                raise message.error
            self._check_stop(handle)
        handle.kill()
        raise CannotGoOn("the worker process was not ready in time")

    def _check_stop(self, handle: Handle) -> None:
        if self._stop.is_set():
            handle.kill()  # it has nothing to save, and may be busy importing for a while
            raise Interrupted(self._stop.reason)
