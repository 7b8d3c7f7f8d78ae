"""The session lives in a process of its own; this one watches it, and lives on when it dies.

A death costs the image in flight: a fresh worker takes over, and renders what the old one had in hand one by
one, so that the next death has one cause. An image that takes ``retries`` workers with it is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from threading import Event
from time import monotonic

from batch.base.errors import CannotGoOn, DeviceLost, Interrupted, LoadFailed, StoppedEarly, StopRun, UserError
from batch.engines.base import Admit, admit_all
from batch.engines.batches import alike
from batch.engines.handle import Death, Handle
from batch.engines.messages import Begin, Drain, Ended, FromWorker, Idle, Ready, Stop, Work
from batch.engines.patience import FIRST_S, Patience
from batch.records import (
    Beat,
    EncodeTask,
    ErrorInfo,
    ErrorKind,
    Failure,
    Happening,
    HappeningKind,
    Listener,
    Machine,
    Measurement,
    Outcome,
    RunSpec,
    Stage,
    Status,
    Task,
)
from batch.render.backend import Backend
from batch.store.folder import RunFolder

STOP_S = 60.0
"""So long may a worker be silent that was told to stop."""

LISTEN_S = 1.0
"""One look for a message counts as no more silence than this."""

LOADS = 2
"""A model that cannot be loaded so often in a row never will be."""


class ProcessEngine:
    """One supervised worker process. ``state`` is where its log lies."""

    def __init__(self, state: Path, backend: Backend) -> None:
        self._state = state
        self._backend = backend
        self._device = ""
        self._stop = Event()
        self._handle: Handle | None = None

    def start(self, devices: str | None, stop: Event) -> str:
        """See :class:`~batch.engines.Engine`."""
        self._stop = stop
        self._device = self._ready(devices)
        return self._device

    def execute(
        self,
        tasks: Sequence[Task | EncodeTask],
        spec: RunSpec,
        listener: Listener,
        *,
        stop: Event,
        admit: Admit = admit_all,
    ) -> Iterator[Outcome]:
        """See :class:`~batch.engines.Engine`."""
        yield from _Supervision(self, spec, listener, stop, admit).run(tasks)

    def close(self) -> None:
        """See :class:`~batch.engines.Engine`."""
        if self._handle is not None:
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
                raise CannotGoOn(f"the worker process ended before it was ready: {_why(device)}")
        raise AssertionError("unreachable")

    def _spawn(self, devices: str | None) -> str | Death:
        self._handle = handle = Handle(self._state, devices, self._backend)
        start = monotonic()
        while monotonic() - start < FIRST_S:
            try:
                message = handle.receive()
            except EOFError:
                death = handle.death()
                self._check_stop()
                return death
            if isinstance(message, Ready):
                return message.device
            if isinstance(message, Ended):
                handle.death()
                raise message.error
            self._check_stop()
        handle.kill()
        raise CannotGoOn("the worker process was not ready in time")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted("interrupted")


@dataclass(slots=True)
class _Supervision:
    engine: ProcessEngine
    spec: RunSpec
    listener: Listener
    stop: Event
    admit: Admit
    queue: deque[Work] = field(default_factory=deque)
    flight: dict[str, Work] = field(default_factory=dict)
    """Given to the worker and not heard of since, in order."""
    rendering: str = ""
    """The one of these that is not being saved yet; of a batch the first."""
    together: int = 1
    """Images of that call."""
    beat: Beat = field(default_factory=lambda: Beat("", Stage.LOAD))
    stage: Stage = Stage.LOAD
    """Of the image being rendered; saving goes on beside it."""
    idle: bool = False
    ending: StopRun | None = None
    images: int = 0
    """Given to this worker."""
    loads: int = 0
    """Failed one after the other."""
    rungs: int = 0
    silence: float = 0.0
    """Seconds of listening since the worker said something."""
    attempts: dict[str, int] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)

    def run(self, tasks: Sequence[Task | EncodeTask]) -> Iterator[Outcome]:
        self.queue = deque(Work(task) for task in tasks)
        self.attempts = {key: item.attempts for key, item in self.folder.failures().items()}
        self.patience = Patience(self.spec.task_timeout)
        self._begin()
        while True:
            self._stop_if_asked()
            if self.idle and not self._give():
                break
            try:
                message = self._listen()
            except EOFError:
                yield from self._died(self.engine.worker.death())
                continue
            if message is not None:
                yield from self._take(message)
            elif self.silence > self._limit():
                yield from self._hung()
        if self.ending is not None:
            raise self.ending

    @property
    def folder(self) -> RunFolder:
        return RunFolder(Path(self.spec.root), self.spec.runner)

    # To the worker

    def _begin(self) -> None:
        self.engine.worker.send(Begin(self.spec))
        self.idle, self.images, self.silence = False, 0, 0.0
        self.beat, self.stage = Beat("", Stage.LOAD), Stage.LOAD

    def _stop_if_asked(self) -> None:
        if self.stop.is_set() and not isinstance(self.ending, Interrupted):
            self.ending = Interrupted("interrupted")
            self.engine.worker.send(Stop())
            self.silence = 0.0

    def _give(self) -> bool:
        """Give the idle worker something to do; False when all is done."""
        recycle = 0 < self.spec.recycle_after <= self.images
        if self.queue and self.ending is None and not recycle and self._admitted(self.queue[0].task):
            self._send(self._next())
        elif self.flight:
            self._send(Drain())
        elif recycle and self.queue and self.ending is None:
            self._tell(HappeningKind.RECYCLED, f"a fresh worker after {self.images} images")
            self.engine.renew()
            self._begin()
        else:
            return False
        return True

    def _next(self) -> Work:
        """Take the next piece of work from the queue, with the images that go into the same call."""
        work = self.queue.popleft()
        taken = [work]
        ready = takewhile(lambda item: not (item.alone or item.step_down), self.queue)
        for other in [] if work.alone else alike(work.task, (item.task for item in ready), self.spec):
            if not self._admitted(other):
                break
            taken.append(self.queue.popleft())
        self.flight.update((_key(item.task), item) for item in taken)
        self.rendering, self.together = _key(work.task), len(taken)
        self.images += sum(isinstance(item.task, Task) for item in taken)
        more = tuple(item.task for item in taken[1:] if isinstance(item.task, Task))
        # Saving beside the next image would cost a measurement its time.
        return replace(work, more=more, alone=work.alone or self.spec.measure)

    def _send(self, message: Work | Drain) -> None:
        self.idle, self.silence = False, 0.0
        self.engine.worker.send(message)

    def _admitted(self, task: Task | EncodeTask) -> bool:
        try:
            if isinstance(task, Task):
                self.admit(task)
        except StopRun as error:
            self.ending = error
        return self.ending is None

    # From the worker

    def _listen(self) -> FromWorker | None:
        """The next message; None, and a longer silence, when there is none yet. EOFError: the worker is gone."""
        start = monotonic()
        message = self.engine.worker.receive()
        # Both processes may have been stopped meanwhile (Ctrl-Z, a laptop that slept): that is no silence.
        self.silence += min(monotonic() - start, LISTEN_S)
        return message

    def _take(self, message: FromWorker) -> Iterator[Outcome]:
        if isinstance(message, Ended):
            yield from self._ended(message)
            return
        self.patience.heard(self._doing(), self.silence)
        self.silence = 0.0
        if isinstance(message, Idle):
            self.idle, self.rendering = True, ""
        elif isinstance(message, Beat):
            self.beat = message
            self.listener.on(message)
            if message.stage != Stage.SAVE:
                self.stage = message.stage
                self.loads = self.loads if self.stage == Stage.LOAD else 0
        elif isinstance(message, Happening):
            self.rungs += message.kind == HappeningKind.OUT_OF_MEMORY
            self.listener.on(message)
        elif isinstance(message, Outcome):
            yield self._outcome(message)

    def _outcome(self, outcome: Outcome) -> Outcome:
        self.flight.pop(outcome.key, None)
        if outcome.failure is not None:
            self.attempts[outcome.key] = outcome.failure.attempts
        return outcome

    def _ended(self, last: Ended) -> Iterator[Outcome]:
        """The worker ended on purpose, or by an exception that is nobody's."""
        error = last.error
        log = self.engine.worker.death().log
        if isinstance(error, Interrupted):
            self.flight.clear()
            self.idle = True
        elif isinstance(error, LoadFailed):
            self.loads += 1
            if self.loads >= LOADS:
                raise error
            self._tell(HappeningKind.LOAD_FAILED, f"{error}; once more in a fresh process", log=log)
            self._again(alone=False)
        elif isinstance(error, DeviceLost) or last.trace:
            yield from self._died(Death(str(error), f"{log}\n{last.trace}".strip()))
        else:
            raise error

    # Deaths

    def _hung(self) -> Iterator[Outcome]:
        silent = self.silence
        stacks = self.engine.worker.stacks()
        self.engine.worker.kill()
        log = self.engine.worker.death().log
        reason = f"no sign of life for {silent:.0f} s"
        yield from self._died(Death(reason, f"{stacks}\n{log}".strip()), kind=HappeningKind.STALLED)

    def _died(self, death: Death, kind: HappeningKind = HappeningKind.WORKER_DIED) -> Iterator[Outcome]:
        """The worker is gone: keep what it committed, blame one image, go on with the rest."""
        yield from self._committed()
        if isinstance(self.ending, Interrupted):
            self.flight.clear()
            self.idle = True
            return
        loading = self.stage == Stage.LOAD
        blamed = None if loading else self.flight.get(self.rendering) or next(iter(self.flight.values()), None)
        name = _name(blamed.task) if blamed else ""
        verb = "stalled" if kind == HappeningKind.STALLED else "died"
        said = f"the worker {verb} {f'at {name} ' if name else ''}({self.stage}): {_why(death)}"
        outcome = self._blame(blamed, death, kind) if blamed is not None else None
        self.loads += loading
        given_up = loading and self.loads >= LOADS
        after = "it is left" if outcome is not None else "a fresh worker tries again"
        said += f"; {'the run ends' if given_up else after}"
        self._tell(kind, said, _key(blamed.task) if blamed else "", log=death.log)
        if given_up:
            raise CannotGoOn(f"the worker died {LOADS} times while it loaded the model: {_why(death)}")
        if outcome is not None:
            del self.flight[outcome.key]
            yield outcome
        self._again(alone=True)

    def _committed(self) -> Iterator[Outcome]:
        """Images whose receipt was written before the worker could say so."""
        for key in [key for key, work in self.flight.items() if isinstance(work.task, Task)]:
            receipt = self.folder.receipt(key) if key not in self.spec.redo else None
            if receipt is not None:
                yield self._outcome(Outcome(key=key, status=Status.DONE, receipt=receipt))

    def _blame(self, work: Work, death: Death, kind: HappeningKind) -> Outcome | None:
        """Count the death against an image that was alone in hand; its outcome when it is left."""
        key = _key(work.task)
        step_down = self.stage if death.out_of_host_memory and self.spec.fallback else ""
        self.flight[key] = Work(work.task, step_down=step_down)
        if len(self.flight) > 1:
            return None  # it may have been the saving of another: each is rendered alone now
        number = self.attempts[key] = self.attempts.get(key, 0) + 1
        error = ErrorInfo(
            kind=ErrorKind.OUT_OF_MEMORY
            if death.out_of_host_memory
            else (ErrorKind.STALLED if kind == HappeningKind.STALLED else ErrorKind.WORKER_DIED),
            message=f"the worker {'hung' if kind == 'stalled' else 'died'}: {_why(death)}",
            stage=self.stage,
        )
        left = number >= self.spec.retries or (self.spec.measure and death.out_of_host_memory)
        if isinstance(work.task, EncodeTask):
            return Outcome(key=key, status=Status.FAILED, error=error) if left else None
        failure = Failure(
            task=work.task,
            error=error,
            measurement=Measurement(),
            machine=Machine(),
            attempts=number,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.folder.fail(failure)
        return Outcome(key=key, status=Status.FAILED, failure=failure, error=error) if left else None

    def _again(self, *, alone: bool) -> None:
        """What was in flight comes first, with a fresh worker."""
        again = [replace(work, alone=alone) for work in self.flight.values()]
        self.queue.extendleft(reversed(again))
        self.flight.clear()
        self.rendering = ""
        self.folder.sweep(own=True)
        self.engine.renew()
        self._begin()

    # Silence

    def _doing(self) -> tuple[object, ...]:
        """What a silence is compared with: the stage, of the same model, size and setting."""
        work = self.flight.get(self.rendering)
        task = work.task if work else None
        if isinstance(task, Task):
            return (
                self.beat.stage,
                self.rungs,
                task.model,
                task.rendered_width,
                task.rendered_height,
                task.memory,
                self.together,
            )
        return (self.beat.stage, task.model if task else "")

    def _limit(self) -> float:
        if isinstance(self.ending, Interrupted):
            return STOP_S
        return self.patience.limit(self._doing(), loading=self.beat.stage == "load")

    def _tell(self, kind: HappeningKind, text: str, task: str = "", log: str = "") -> None:
        self.listener.on(Happening(kind=kind, text=text, task=task, data={"log": log} if log else {}))


def _key(task: Task | EncodeTask) -> str:
    return task.id if isinstance(task, Task) else task.key


def _name(task: Task | EncodeTask) -> str:
    return task.name if isinstance(task, Task) else f"the text {task.text[:40]!r}"


def _why(death: Death) -> str:
    last = next((line for line in reversed(death.log.splitlines()) if "rror" in line), "")
    return f"{death.reason}: {last.strip()[:200]}" if last and last.strip() not in death.reason else death.reason
