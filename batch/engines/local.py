"""Everything in this process, on one device: for debugging. A crash ends the run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch.base.errors import BatchError, Interrupted, StopRun
from batch.engines.base import Seated, admit_all, no_texts
from batch.engines.batches import alike
from batch.engines.costs import TextCosts
from batch.engines.messages import Assignment
from batch.engines.worker import Worker
from batch.records.events import Event, Listener, Seat
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Helm, Texts
    from batch.render.backend import Backend


class LocalEngine:
    """A loop over the tasks; saving happens behind the next image."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._worker: Worker | None = None

    def start(self, devices: str | None, stop: Helm, *, most: int) -> Seated:  # noqa: ARG002 - it takes no time
        """See :class:`~batch.engines.base.Engine`."""
        device = self._backend.devices(devices).devices[0]
        kind = self._backend.describe(device).device
        return Seated((Seat(number=0, device=device, kind=kind, label=device),))

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
        told = _Telling(listener, stop)
        self._worker = Worker(spec, self._backend, told, stop)
        costs = TextCosts(spec)
        try:
            left = deque(tasks)
            while left:
                stop.tell(listener)
                if stop.is_set() or stop.finishing:
                    raise Interrupted(stop.reason)
                if stop.pausing:
                    if isinstance(left[0], Task):
                        check(left[0], 0)  # a pause before nothing would only keep the run from ending
                    yield from told.with_told(self._worker.drain())
                    self._worker.close()
                    stop.rest(listener)
                    self._worker = Worker(spec, self._backend, told, stop)
                if isinstance(left[0], Task):
                    left.extendleft(reversed(texts(item for item in left if isinstance(item, Task))))
                task = left.popleft()
                if isinstance(task, Task):
                    admit(task, 0)
                more, full = self._more(task, left, spec, admit)
                images = [item for item in (task, *more) if isinstance(item, Task)]
                assignment = Assignment(task, more, encoded=costs.of(images))
                for outcome in told.with_told(self._worker.work(assignment)):
                    costs.told(outcome)
                    yield outcome
                if full is not None:
                    raise full
        except StopRun:
            yield from told.with_told(self._worker.drain())  # what is rendered is committed
            raise
        yield from told.with_told(self._worker.drain())

    @staticmethod
    def _more(
        task: Task | EncodeTask, left: deque[Task | EncodeTask], spec: RunSpec, admit: Admit
    ) -> tuple[tuple[Task, ...], StopRun | None]:
        """The images that go with a task, taken from what is left; and what forbids to start any after them."""
        more: list[Task] = []
        for other in alike(task, left, spec):
            try:
                admit(other, 0)
            except StopRun as error:
                return tuple(more), error
            left.popleft()
            more.append(other)
        return tuple(more), None

    def close(self) -> None:
        """See :class:`~batch.engines.base.Engine`."""
        if self._worker is not None:
            self._worker.close()


class _Telling:
    """Passes on what a worker in this process tells, and what is asked of it meanwhile."""

    def __init__(self, listener: Listener, stop: Helm) -> None:
        self._listener, self._stop = listener, stop
        self._outcomes: deque[Outcome] = deque()
        """Told while the worker was in the middle of another image: they are yielded when it comes back."""

    def on(self, event: Event) -> None:
        if isinstance(event, Outcome):
            self._outcomes.append(event)
        else:
            self._listener.on(event)
        self._stop.tell(self._listener)

    def with_told(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        """What a worker yields, and before it what it has told; that, too, where it raises."""
        try:
            for outcome in outcomes:
                yield from self._taken()
                yield outcome
        except BatchError:
            yield from self._taken()
            raise
        yield from self._taken()

    def _taken(self) -> Iterator[Outcome]:
        while self._outcomes:
            yield self._outcomes.popleft()
