"""One seat of a run: what its worker is given, what it says, and what its death means.

A death costs the image in flight: a fresh worker takes over, and what the old one had in hand is rendered one by
one, at another seat where there is one, so that the next death has one cause. An image that takes as many workers
with it as the run allows is left. So are those of a model that can be loaded nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from batch.base.errors import (
    CannotGoOn,
    DeviceLost,
    Interrupted,
    LoadFailed,
    NeverLoads,
    StoppedEarly,
    StopRun,
    UserError,
)
from batch.engines import losses
from batch.engines.agenda import images_among, is_all, key_of, needs_the_same
from batch.engines.death import Death
from batch.engines.inhand import InHand
from batch.engines.messages import Drain, Ended, Idle, Ready, Stop
from batch.engines.patience import Silence
from batch.records.events import Beat, Happening, Seat
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.receipts import ErrorInfo, Outcome
from batch.records.tasks import EncodeTask, Task
from batch.store.folder import RunFolder

if TYPE_CHECKING:
    from batch.engines.base import WorkPlace
    from batch.engines.messages import Assignment, FromWorker
    from batch.engines.shift import Shift

LOADS = 2
"""A model that cannot be loaded so often in a row never will be."""

DEATHS = 3
"""Workers that die one after the other at a seat, with no image done between: it is the device that is bad."""


class LaneState(Enum):
    """What a seat's worker is at."""

    STARTING = auto()
    """It has not said yet that it is ready."""
    WORKING = auto()
    IDLE = auto()
    """It asks for work."""
    ASLEEP = auto()
    """The device is given back: there is no worker until the pause is over."""
    GONE = auto()
    """There is no worker, and none will come."""


class Lane:
    """Speaks with the workers of one seat, one after the other."""

    def __init__(self, place: WorkPlace, shift: Shift) -> None:
        self.place, self._shift = place, shift
        self.desk = shift.agenda.sit(place.seat.number)
        self.in_hand = InHand()
        shift.sit(place.seat, self.in_hand)
        self.state = LaneState.WORKING
        self.images = 0
        """Given to this worker."""
        self._silence = Silence(self.in_hand, shift.spec.task_timeout)
        # What a dead worker has left is removed while those of other seats write.
        runner = f"{shift.spec.runner}-{place.seat.number}"
        self._spec = replace(shift.spec, device=place.seat.device, runner=runner)
        self._folder = RunFolder(shift.folder.root, runner, shift.spec.held)
        self._loads = 0
        """Failed one after the other."""
        self._deaths = 0
        """One after the other."""
        self._starts = 0
        """Workers that died before they were ready, one after the other."""

    @property
    def seat(self) -> Seat:
        """Where it is."""
        return self.place.seat

    @property
    def listens(self) -> bool:
        """Whether a worker is there that may say something."""
        return self.state in (LaneState.STARTING, LaneState.WORKING, LaneState.IDLE)

    # To the worker

    def begin(self, state: LaneState = LaneState.WORKING) -> None:
        """Tell a fresh worker of the run."""
        self.state, self.images = state, 0
        self.desk.loaded = None
        self._silence.begin()
        self.place.begin(self._spec)

    def assign(self, taken: Sequence[Assignment]) -> None:
        """Give the idle worker what was taken from the agenda, of one call."""
        # Saving beside the next image would cost a measurement its time.
        assignment = self.in_hand.give(taken, alone=self._spec.measure)
        self.images += len(images_among(taken))
        self._at_work(assignment)

    def drain(self) -> None:
        """Have what is rendered saved."""
        self._at_work(Drain())

    def _at_work(self, message: Assignment | Drain) -> None:
        self.state, self._silence.seconds = LaneState.WORKING, 0.0
        self.place.line.send(message)

    def drop(self) -> None:
        """Have the image at work dropped."""
        if self.state in (LaneState.WORKING, LaneState.IDLE):
            self.place.line.send(Stop())
            self._silence.seconds = 0.0

    def end_start(self) -> None:
        """End a worker that is not ready: it has nothing to save, and may be busy importing for a while."""
        if self.state == LaneState.STARTING:
            self.place.line.kill()
            self._over()

    def sleep(self) -> None:
        """Give the device back, with nothing in hand."""
        self.place.close()
        self.state = LaneState.ASLEEP

    def renew(self) -> None:
        """Put a fresh worker in the place of this one."""
        self.place.renew()
        self.begin(LaneState.STARTING)

    def _leave(self, why: StopRun) -> None:
        """Nothing is rendered here any more; where that was the last seat, the run ends."""
        shift = self._shift
        self.state = LaneState.GONE
        shift.places.leave(self.place)
        shift.agenda.again(replace(item, alone=False) for item in self.in_hand.drop())
        shift.agenda.rise(self.desk)
        shift.rise(self.seat)
        if not shift.seats:
            shift.end(why)
            return
        others = [seat.label for seat in shift.seats.values()]
        rest = "the others go on" if len(others) > 1 else f"{others[0]} goes on"
        said = f"{self.seat.label} is lost: {why}; {rest}"
        shift.tell(HappeningKind.SEAT_LEFT, said, self.seat, why=str(why))
        shift.tell_crew()

    # From the worker

    def hear(self) -> Iterator[Outcome]:
        """Whatever the worker has said."""
        while self.listens:
            try:
                message = self.place.line.receive()
            except EOFError:
                death = self.place.line.death()
                if self.state == LaneState.STARTING:
                    self._not_ready(death)
                else:
                    yield from self._died(death)
                continue
            if message is None:
                return
            yield from self._take(message)

    def look(self, seconds: float) -> Iterator[Outcome]:
        """So long it was listened for, since the last look: end a worker that hangs."""
        if self.state not in (LaneState.STARTING, LaneState.WORKING):
            return
        self._silence.listened(seconds)
        if self.state == LaneState.STARTING:
            if self._silence.too_long(stopping=False):
                self.place.line.kill()
                self._not_ready(Death("it was not ready in time", ""))
        elif self._silence.too_long(stopping=self._shift.dropping):
            yield from self._hung()
        elif self._shift.dropping and self._shift.stop.out_of_time:
            self.place.line.kill()
            yield from self._died(Death("it did not stop in time", ""))

    def _take(self, message: FromWorker) -> Iterator[Outcome]:
        if isinstance(message, Ended):
            yield from self._ended(message)
            return
        if not isinstance(message, Outcome):  # which may be saved beside the next image, and says nothing of that
            self._silence.heard()
        if isinstance(message, Ready):
            self.state, self._starts = LaneState.WORKING, 0
        elif isinstance(message, Idle):
            self.state = LaneState.IDLE
            self._shift.agenda.changes += 1
            self.in_hand.rendered()
        elif isinstance(message, Beat):
            self._silence.at(message)
            self._shift.listener.on(replace(message, seat=self.seat.number))
            if message.stage not in (Stage.SAVE, Stage.LOAD):
                self._loads = 0
        elif isinstance(message, Happening):
            if message.kind == HappeningKind.OUT_OF_MEMORY:
                self._silence.slower()
            self._shift.listener.on(replace(message, seat=self.seat.number))
        elif isinstance(message, Outcome):
            yield self._done(message)

    def _done(self, outcome: Outcome) -> Outcome:
        self.in_hand.done(outcome.key)
        self._shift.agenda.done(outcome)
        if outcome.status == Status.DONE:
            self._deaths = 0
        return outcome

    def _ended(self, last: Ended) -> Iterator[Outcome]:
        """The worker ended on purpose, or by an exception that is nobody's."""
        error = last.error
        log = self.place.line.death().log
        if isinstance(error, Interrupted | LoadFailed) and self._abandoned():
            return
        if self.state == LaneState.STARTING and isinstance(error, UserError):
            self._leave(StoppedEarly(f"the device {self.seat.device} is gone: {error}"))
            return
        if isinstance(error, LoadFailed):
            self._loads += 1
            if self._loads >= LOADS or isinstance(error, NeverLoads):
                yield from self._without_model(error, log)
            else:
                said = f"{error}{self._shift.at(self.seat)}; once more in a fresh process"
                self._shift.tell(HappeningKind.LOAD_FAILED, said, self.seat, log=log)
                self._again(alone=False)
        elif isinstance(error, DeviceLost) or last.trace:
            yield from self._died(Death(str(error), f"{log}\n{last.trace}".strip()))
        else:
            self._shift.end(error)
            self._over()

    def _not_ready(self, death: Death) -> None:
        """It died before it was: another is tried so often."""
        if self._abandoned():
            return
        self._starts += not death.innocent
        if death.gone:
            self._leave(StoppedEarly(death.reason))
        elif self._starts >= LOADS:
            self._leave(CannotGoOn(f"the worker process ended before it was ready: {death.why}"))
        else:
            self.renew()

    def _abandoned(self) -> bool:
        """Whether no other worker takes the place of one that is gone: then what it had in hand is left."""
        if self._shift.stop.finishing:
            self._shift.end(Interrupted(self._shift.stop.reason))
        if self._shift.ending is None:
            return False
        self._over()
        return True

    def _over(self) -> None:
        self.in_hand.drop()
        self.state = LaneState.GONE

    # Models that cannot be loaded

    def _without_model(self, error: CannotGoOn, log: str) -> Iterator[Outcome]:
        """Leave to the other seats whatever needs what cannot be loaded here, or fail it where none can.

        The run ends where nothing else is left.
        """
        failed, shift = self.in_hand.suspect, self._shift
        if failed is None:
            shift.end(error)
            self._over()
            return
        self.desk.refused.append(failed.task)
        left = [task for task in shift.left() if isinstance(task, Task)]
        nothing_else = is_all(left, failed.task)
        if not shift.agenda.nobody_can(failed.task):
            if nothing_else:
                self._leave(StoppedEarly(str(error)))
                return
            said = f"{error}{shift.at(self.seat)}; its images go to the other devices"
            shift.tell(HappeningKind.LOAD_FAILED, said, self.seat, log=log)
        elif nothing_else:
            shift.end(error)
            self._over()
            return
        else:
            said = f"{error}; its images are given up, the others rendered"
            shift.tell(HappeningKind.LOAD_FAILED, said, self.seat, log=log)
            yield from self._give_up(failed.task, error)
        self._loads = 0
        self._again(alone=False)

    def _give_up(self, failed: Task | EncodeTask, error: CannotGoOn) -> Iterator[Outcome]:
        info = ErrorInfo(kind=ErrorKind.NOT_LOADED, message=str(error), stage=Stage.LOAD)
        agenda = self._shift.agenda
        mine = [item.task for item in self.in_hand.given if needs_the_same(item.task, failed)]
        for task in [*mine, *agenda.leave(failed)]:
            attempts = agenda.attempts.get(key_of(task), 0) + 1
            yield self._done(losses.failed(task, info, attempts, self._folder))

    # Deaths

    def _hung(self) -> Iterator[Outcome]:
        silent = self._silence.seconds
        stacks = self.place.line.stacks()
        self.place.line.kill()
        log = self.place.line.death().log
        reason = f"no sign of life for {silent:.0f} s"
        yield from self._died(Death(reason, f"{stacks}\n{log}".strip()), kind=HappeningKind.STALLED)

    def _died(self, death: Death, kind: HappeningKind = HappeningKind.WORKER_DIED) -> Iterator[Outcome]:
        """The worker is gone: keep what it committed, blame one image, go on with the rest."""
        for name in self.in_hand.images:  # of which the receipt was written before the worker could say so
            receipt = self._folder.receipt(name) if name not in self._spec.redo else None
            if receipt is not None:
                yield self._done(Outcome(key=name, status=Status.DONE, receipt=receipt))
        if self._abandoned():
            return
        if death.gone:
            self._leave(StoppedEarly(death.reason))
            return
        stage = self._silence.stage
        loading = stage == Stage.LOAD
        blamed = None if loading or death.innocent else self.in_hand.suspect
        said = losses.said(death, kind, stage, blamed.task if blamed else None, self._shift.at(self.seat))
        outcome = self._blame(blamed, death, kind) if blamed is not None else None
        self._loads += loading and not death.innocent
        self._deaths += not death.innocent
        given_up = loading and self._loads >= LOADS
        after = "the image is given up" if outcome is not None else "a fresh worker tries again"
        said += f"; {'the model is given up' if given_up else after}"
        self._shift.tell(kind, said, self.seat, task=key_of(blamed.task) if blamed else "", log=death.log)
        if given_up:
            why = f"the worker died {LOADS} times while it loaded the model: {death.why}"
            yield from self._without_model(CannotGoOn(why), death.log)
            return
        if outcome is not None:
            yield self._done(outcome)
        if self._deaths >= DEATHS and len(self._shift.seats) > 1:
            self._leave(StoppedEarly(f"{self._deaths} workers died there one after the other: {death.why}"))
            return
        self._again(alone=True)

    def _blame(self, assignment: Assignment, death: Death, kind: HappeningKind) -> Outcome | None:
        """Count the death against an image that was alone in hand; its outcome when it is left."""
        stage, task = self._silence.stage, assignment.task
        step_down = stage if death.out_of_host_memory and self._spec.fallback else None
        died_at = assignment.died_at if death.out_of_host_memory else {*assignment.died_at, self.seat.number}
        changed = replace(assignment, more=(), step_down=step_down, died_at=frozenset(died_at))
        if not self.in_hand.change(changed):
            # It may have been the saving of another: each is rendered alone now.
            self.in_hand.change(replace(changed, died_at=assignment.died_at))
            return None
        attempts = self._shift.agenda.attempts
        number = attempts[key_of(task)] = attempts.get(key_of(task), 0) + 1
        left = number >= self._shift.tries or (self._spec.measure and death.out_of_host_memory)
        outcome = losses.failed(task, losses.error_of(death, kind, stage), number, self._folder)
        return outcome if left else None

    def _again(self, *, alone: bool) -> None:
        """What was in flight comes first, with a fresh worker."""
        self._shift.agenda.again(replace(item, alone=alone) for item in self.in_hand.drop())
        self._folder.sweep(own=True)
        self.renew()
