"""Everything in this process, on one device: for debugging. A crash ends the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event

from batch.engines import Control
from batch.engines.worker import Worker, sessions
from batch.errors import Interrupted, StopRun
from batch.records import EncodeTask, Outcome, RunSpec, Task


class LocalEngine:
    """A loop over the tasks; saving happens behind the next image."""

    def __init__(self, *, fake: bool = False) -> None:
        self._fake = fake
        self._worker: Worker | None = None

    def start(self, devices: str | None, stop: Event) -> str:  # noqa: ARG002 - it takes no time
        """See :class:`~batch.engines.Engine`."""
        return str(sessions(fake=self._fake).choose(devices))

    def execute(self, tasks: Sequence[Task | EncodeTask], spec: RunSpec, control: Control) -> Iterator[Outcome]:
        """See :class:`~batch.engines.Engine`."""
        self._worker = self._worker or Worker(spec, control, fake=self._fake)
        try:
            for task in tasks:
                if control.stop.is_set():
                    raise Interrupted("interrupted")
                if isinstance(task, Task):
                    control.admit(task)
                yield from self._worker.work(task)
        except StopRun:
            yield from self._worker.drain()  # what is rendered is committed
            raise
        yield from self._worker.drain()

    def close(self) -> None:
        """See :class:`~batch.engines.Engine`."""
        if self._worker is not None:
            self._worker.close()
