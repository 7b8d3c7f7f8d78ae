"""One run through worker processes: what they are given, what they say, and what their death means.

A death costs the image in flight: a fresh worker takes over, and renders what the old one had in hand one by
one, so that the next death has one cause. An image that takes ``retries`` workers with it is left. So are those
of a model that cannot be loaded, where others are to be rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch.base.errors import CannotGoOn, DeviceLost, Interrupted, LoadFailed, NeverLoads, StopRun
from batch.base.text import timestamp
from batch.engines.death import Death
from batch.engines.inhand import InHand, key
from batch.engines.messages import Begin, Drain, Ended, Idle, Stop
from batch.engines.patience import Silence
from batch.records.events import Beat, Happening, Listener
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement, Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.store.folder import RunFolder

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Helm, Texts, Workers
    from batch.engines.messages import Assignment, FromWorker

LOADS = 2
"""A model that cannot be loaded so often in a row never will be."""


class Supervision:
    """Yields the outcomes of tasks, whatever becomes of the workers that do them."""

    def __init__(
        self,
        workers: Workers,
        tasks: Sequence[Task | EncodeTask],
        spec: RunSpec,
        listener: Listener,
        *,
        stop: Helm,
        admit: Admit,
        check: Check,
        texts: Texts,
    ) -> None:
        self._workers = workers
        self._spec = spec
        self._listener = listener
        self._stop, self._admit, self._check = stop, admit, check
        self._folder = RunFolder(Path(spec.root), spec.runner, spec.held)
        attempts = {name: item.attempts for name, item in self._folder.failures().items()}
        self._in_hand = InHand(tasks, spec, attempts, texts)
        self._silence = Silence(self._in_hand, spec.task_timeout)
        self._idle = False
        self._ending: StopRun | None = None
        self._dropping = False
        self._images = 0
        """Given to this worker."""
        self._loads = 0
        """Failed one after the other."""

    def run(self) -> Iterator[Outcome]:
        """Until everything is done; raises what ends the run before, when what was begun is saved."""
        self._begin()
        while True:
            self._stop.tell(self._listener)
            if self._stop.is_set() and not self._dropping:
                self._ending, self._dropping = Interrupted(self._stop.reason), True
                self._workers.worker.send(Stop())
                self._silence.seconds = 0.0
            if self._idle and not self._give():
                break
            start = monotonic()
            try:
                message = self._workers.worker.receive()
            except EOFError:
                yield from self._died(self._workers.worker.death())
                continue
            self._silence.listened(monotonic() - start)
            if message is not None:
                yield from self._take(message)
            elif self._silence.too_long(stopping=self._dropping):
                yield from self._hung()
            elif self._dropping and self._stop.out_of_time:
                self._workers.worker.kill()
                yield from self._died(Death("it did not stop in time", ""))
        if self._ending is not None:
            raise self._ending

    def _abandoned(self) -> bool:
        """Whether no other worker takes the place of one that is gone: then what it had in hand is left."""
        if self._stop.finishing and self._ending is None:
            self._ending = Interrupted(self._stop.reason)
        if not isinstance(self._ending, Interrupted):
            return False
        self._in_hand.drop()
        self._idle = True
        return True

    # To the worker

    def _begin(self) -> None:
        self._workers.worker.send(Begin(self._spec))
        self._idle, self._images = False, 0
        self._silence.begin()

    def _give(self) -> bool:
        """Give the idle worker something to do; False when all is done."""
        recycle = 0 < self._spec.recycle_after <= self._images
        head = self._head()
        pausing = self._stop.pausing and not self._spec.measure
        rests = pausing and head is not None and self._allowed(head, self._check)  # else the run ends
        if head is not None and not (recycle or rests) and self._allowed(head, self._admit):
            assignment, images = self._in_hand.take(lambda task: self._allowed(task, self._admit))
            self._images += images
            self._send(assignment)
        elif self._in_hand.busy:
            self._send(Drain())
        elif rests:
            return self._rested()
        elif recycle and head is not None:
            self._tell(HappeningKind.RECYCLED, f"a fresh worker after {self._images} images")
            self._workers.renew()
            self._begin()
        else:
            return False
        return True

    def _head(self) -> Task | EncodeTask | None:
        """What comes next, if anything may."""
        if self._ending is not None:
            return None
        if self._stop.finishing and self._in_hand.waits:
            self._ending = Interrupted(self._stop.reason)
            return None
        return self._in_hand.head()

    def _rested(self) -> bool:
        """Give the device back until the pause is over; whether the run goes on."""
        self._workers.close()
        try:
            self._stop.rest(self._listener)
        except StopRun as error:
            self._ending = error
            return False
        self._workers.renew()
        self._begin()
        return True

    def _send(self, message: Assignment | Drain) -> None:
        self._idle, self._silence.seconds = False, 0.0
        self._workers.worker.send(message)

    def _allowed(self, task: Task | EncodeTask, ask: Check) -> bool:
        try:
            if isinstance(task, Task):
                ask(task, 0)
        except StopRun as error:
            self._ending = error
        return self._ending is None

    # From the worker

    def _take(self, message: FromWorker) -> Iterator[Outcome]:
        if isinstance(message, Ended):
            yield from self._ended(message)
            return
        if not isinstance(message, Outcome):  # which may be saved beside the next image, and says nothing of that
            self._silence.heard()
        if isinstance(message, Idle):
            self._idle = True
            self._in_hand.rendered()
        elif isinstance(message, Beat):
            self._silence.at(message)
            self._listener.on(message)
            if message.stage not in (Stage.SAVE, Stage.LOAD):
                self._loads = 0
        elif isinstance(message, Happening):
            if message.kind == HappeningKind.OUT_OF_MEMORY:
                self._silence.slower()
            self._listener.on(message)
        elif isinstance(message, Outcome):
            yield self._in_hand.done(message)

    def _ended(self, last: Ended) -> Iterator[Outcome]:
        """The worker ended on purpose, or by an exception that is nobody's."""
        error = last.error
        log = self._workers.worker.death().log
        if isinstance(error, Interrupted | LoadFailed) and self._abandoned():
            return
        if isinstance(error, LoadFailed):
            self._loads += 1
            if self._loads >= LOADS or isinstance(error, NeverLoads):
                yield from self._without_model(error, log)
            else:
                self._tell(HappeningKind.LOAD_FAILED, f"{error}; once more in a fresh process", log=log)
                self._again(alone=False)
        elif isinstance(error, DeviceLost) or last.trace:
            yield from self._died(Death(str(error), f"{log}\n{last.trace}".strip()))
        else:
            raise error

    def _without_model(self, error: CannotGoOn, log: str) -> Iterator[Outcome]:
        """Fail whatever needs what cannot be loaded, and go on; raises the error where nothing else is left."""
        failed = self._in_hand.suspect
        if failed is None or self._in_hand.is_all(failed.task):
            raise error
        self._tell(HappeningKind.LOAD_FAILED, f"{error}; its images are left, the others rendered", log=log)
        info = ErrorInfo(kind=ErrorKind.NOT_LOADED, message=str(error), stage=Stage.LOAD)
        for task in self._in_hand.leave(failed.task):
            attempts = self._in_hand.attempts.get(key(task), 0) + 1
            yield self._in_hand.done(self._failed(task, info, attempts))
        self._loads = 0
        self._again(alone=False)

    # Deaths

    def _hung(self) -> Iterator[Outcome]:
        silent = self._silence.seconds
        stacks = self._workers.worker.stacks()
        self._workers.worker.kill()
        log = self._workers.worker.death().log
        reason = f"no sign of life for {silent:.0f} s"
        yield from self._died(Death(reason, f"{stacks}\n{log}".strip()), kind=HappeningKind.STALLED)

    def _died(self, death: Death, kind: HappeningKind = HappeningKind.WORKER_DIED) -> Iterator[Outcome]:
        """The worker is gone: keep what it committed, blame one image, go on with the rest."""
        for name in self._in_hand.images:  # of which the receipt was written before the worker could say so
            receipt = self._folder.receipt(name) if name not in self._spec.redo else None
            if receipt is not None:
                yield self._in_hand.done(Outcome(key=name, status=Status.DONE, receipt=receipt))
        if self._abandoned():
            return
        stage = self._silence.stage
        loading = stage == Stage.LOAD
        blamed = None if loading else self._in_hand.suspect
        at = ""
        if blamed is not None:
            task = blamed.task
            at = f"at {task.name if isinstance(task, Task) else f'the text {task.text[:40]!r}'} "
        verb = "stalled" if kind == HappeningKind.STALLED else "died"
        said = f"the worker {verb} {at}({stage}): {death.why}"
        outcome = self._blame(blamed, death, kind) if blamed is not None else None
        self._loads += loading
        given_up = loading and self._loads >= LOADS
        after = "it is left" if outcome is not None else "a fresh worker tries again"
        said += f"; {'the model is given up' if given_up else after}"
        self._tell(kind, said, key(blamed.task) if blamed else "", log=death.log)
        if given_up:
            why = f"the worker died {LOADS} times while it loaded the model: {death.why}"
            yield from self._without_model(CannotGoOn(why), death.log)
            return
        if outcome is not None:
            yield self._in_hand.done(outcome)
        self._again(alone=True)

    def _blame(self, assignment: Assignment, death: Death, kind: HappeningKind) -> Outcome | None:
        """Count the death against an image that was alone in hand; its outcome when it is left."""
        stage, task = self._silence.stage, assignment.task
        step_down = stage if death.out_of_host_memory and self._spec.fallback else None
        number = self._in_hand.blame(assignment, step_down)
        if number is None:
            return None
        stalled = kind == HappeningKind.STALLED
        error_kind = ErrorKind.STALLED if stalled else ErrorKind.WORKER_DIED
        error = ErrorInfo(
            kind=ErrorKind.OUT_OF_MEMORY if death.out_of_host_memory else error_kind,
            message=f"the worker {'hung' if stalled else 'died'}: {death.why}",
            stage=stage,
        )
        left = number >= self._spec.retries or (self._spec.measure and death.out_of_host_memory)
        outcome = self._failed(task, error, number)
        return outcome if left else None

    def _failed(self, task: Task | EncodeTask, error: ErrorInfo, attempts: int) -> Outcome:
        """The outcome of a task that no worker can tell of; an image's failure is written down."""
        if isinstance(task, EncodeTask):
            return Outcome(key=task.key, status=Status.FAILED, error=error)
        failure = Failure(
            task=task, error=error, measurement=Measurement(), machine=Machine(),
            attempts=attempts, started_at=timestamp(),
        )  # fmt: skip
        self._folder.fail(failure)
        return Outcome(key=task.id, status=Status.FAILED, failure=failure, error=error)

    def _again(self, *, alone: bool) -> None:
        """What was in flight comes first, with a fresh worker."""
        self._in_hand.again(alone=alone)
        self._folder.sweep(own=True)
        self._workers.renew()
        self._begin()

    def _tell(self, kind: HappeningKind, text: str, task: str = "", log: str = "") -> None:
        self._listener.on(Happening(kind=kind, text=text, task=task, data={"log": log} if log else {}))
