"""Everything in this process, on one device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batch.engines import Control
from batch.engines.worker import Worker
from batch.errors import Interrupted, StopRun
from batch.records import EncodeTask, Outcome, RunSpec, Task


class LocalEngine:
    """A loop over the tasks; saving happens behind the next image."""

    def execute(self, tasks: Sequence[Task | EncodeTask], spec: RunSpec, control: Control) -> Iterator[Outcome]:
        """See :class:`~batch.engines.Engine`."""
        with Worker(spec, control) as worker:
            try:
                for task in tasks:
                    if control.stop.is_set():
                        raise Interrupted("interrupted")
                    if isinstance(task, Task):
                        control.admit(task)
                    yield from worker.work(task)
            except StopRun:
                yield from worker.drain()  # what is rendered is committed
                raise
            yield from worker.drain()
