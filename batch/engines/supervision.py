"""One run through workers at one seat or many: who is given what, until all is done or something ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from batch.base.errors import CannotGoOn, Interrupted, StoppedEarly, StopRun
from batch.base.text import plural
from batch.engines.agenda import Agenda
from batch.engines.base import TICK_S
from batch.engines.lane import Lane, LaneState
from batch.engines.shift import Shift
from batch.records.events import Listener
from batch.records.kinds import HappeningKind
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.store.folder import RunFolder

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Helm, Texts, WorkPlaces
    from batch.engines.messages import Assignment


class Supervision:
    """Yields the outcomes of tasks, whatever becomes of the workers that do them."""

    def __init__(
        self,
        places: WorkPlaces,
        tasks: Sequence[Task | EncodeTask],
        spec: RunSpec,
        listener: Listener,
        *,
        stop: Helm,
        admit: Admit,
        check: Check,
        texts: Texts,
        tries: int = 0,
    ) -> None:
        """``tries`` are the workers that an image may take with it at least."""
        folder = RunFolder(Path(spec.root), spec.runner, spec.held)
        attempts = {name: item.attempts for name, item in folder.failures().items()}
        self._shift = Shift(
            spec=spec, agenda=Agenda(tasks, spec, attempts, texts), folder=folder, places=places,
            listener=listener, stop=stop, tries=max(spec.retries, tries),
        )  # fmt: skip
        self._admit, self._check = admit, check
        self._lanes: list[Lane] = []
        """Of the seats that have not left."""
        self._full: dict[int, StopRun] = {}
        """Why no more may be started at a seat, by its number."""
        self._looked: dict[int, tuple[int, bool]] = {}
        """Seats at which there was nothing to do, and when: asked again, it would be the same."""

    def run(self) -> Iterator[Outcome]:
        """Until everything is done; raises what ends the run before, when what was begun is saved."""
        shift = self._shift
        for place in shift.places:
            self._sit(Lane(place, shift))
        last = monotonic()
        while True:
            self._obey()
            if not self._give_all():
                break
            heard = set(shift.places.listen(TICK_S))
            for lane in self._lanes:
                if lane.seat.number in heard:
                    yield from lane.hear()
                    # At once: of hundreds that end together the last would wait for all, and end together again.
                    if lane.state == LaneState.IDLE:
                        self._give(lane)
            now = monotonic()
            if now - last >= TICK_S:
                for lane in self._lanes:
                    yield from lane.look(now - last)
                self._welcome()
                last = now
        if (why := self._why()) is not None:
            raise why

    def _why(self) -> Exception | None:
        """What ended the run; None where all is done."""
        if self._shift.ending is not None:
            return self._shift.ending
        return next(iter(self._full.values()), None) if self._shift.agenda.waits else None

    def _sit(self, lane: Lane) -> None:
        self._lanes.append(lane)
        lane.begin()

    def _welcome(self) -> None:
        """Seats that have come meanwhile."""
        for place in self._shift.places.joined():
            self._sit(Lane(place, self._shift))
            self._shift.tell(HappeningKind.SEAT_JOINED, f"{place.seat.label} has joined", place.seat)
            self._shift.tell_crew()

    def _obey(self) -> None:
        shift = self._shift
        shift.stop.tell(shift.listener)
        if shift.stop.is_set() and not shift.dropping:
            shift.end(Interrupted(shift.stop.reason))
            shift.dropping = True
            for lane in self._lanes:
                lane.drop()

    # Who does what

    def _give_all(self) -> bool:
        """Give every idle worker something to do; whether the run goes on."""
        shift = self._shift
        for lane in self._lanes:
            if lane.state == LaneState.IDLE:
                self._give(lane)
        self._lanes = [lane for lane in self._lanes if lane.seat.number in shift.seats]
        if shift.ending is not None:
            for lane in self._lanes:
                lane.end_start()
        states = {lane.state for lane in self._lanes}
        if LaneState.WORKING in states or (LaneState.STARTING in states and shift.agenda.waits):
            return True
        if LaneState.ASLEEP in states:
            return self._rested()
        return self._any_left()

    def _any_left(self) -> bool:
        """With nobody at work: whether anybody takes what waits after all."""
        shift = self._shift
        if shift.ending is not None or not shift.agenda.waits:
            return False
        idle = [lane for lane in self._lanes if lane.state == LaneState.IDLE]
        for lane in idle:
            self._give(lane, alone=True)
            if lane.state != LaneState.IDLE:
                return True
        if not shift.seats:
            shift.end(StoppedEarly("there is no device left"))
        elif not self._full:
            left = plural(sum(1 for _ in shift.agenda.waiting()), "task")
            shift.end(CannotGoOn(f"{left} left that no device takes: please report this as a bug"))
        return False

    def _give(self, lane: Lane, *, alone: bool = False) -> None:
        """Give the idle worker of a seat something to do, if there is anything for it."""
        shift = self._shift
        pausing = shift.stop.pausing and not shift.spec.measure
        moment = (shift.agenda.changes, pausing)
        if not alone and self._looked.get(lane.seat.number) == moment:
            return
        recycle = 0 < shift.spec.recycle_after <= lane.images
        head = self._head(lane, alone=alone)
        rests = pausing and head is not None and self._allowed(head.task, lane, self._check)  # else the run ends
        if head is not None and not (recycle or rests) and self._allowed(head.task, lane, self._admit):
            lane.assign(shift.agenda.take(lane.desk, head, lambda task: self._allowed(task, lane, self._admit)))
        elif lane.in_hand.busy:
            lane.drain()
        elif rests:
            lane.sleep()
        elif recycle and head is not None and lane.seat.number not in self._full:
            said = f"a fresh worker{shift.at(lane.seat)} after {lane.images} images"
            shift.tell(HappeningKind.RECYCLED, said, lane.seat)
            lane.renew()
        else:
            self._looked[lane.seat.number] = (shift.agenda.changes, pausing)

    def _head(self, lane: Lane, *, alone: bool) -> Assignment | None:
        """What comes next at a seat, if anything may: at a full one, what was begun before and came back."""
        shift = self._shift
        full = lane.seat.number in self._full
        if shift.ending is not None or (full and shift.stop.finishing):
            return None
        if shift.stop.finishing and shift.agenda.waits:
            shift.end(Interrupted(shift.stop.reason))
            return None
        return shift.agenda.came_back(lane.desk) if full else shift.agenda.head(lane.desk, alone=alone)

    def _allowed(self, task: Task | EncodeTask, lane: Lane, ask: Check) -> bool:
        try:
            if isinstance(task, Task):
                ask(task, lane.seat.number)
        except StopRun as error:
            self._full[lane.seat.number] = error
            return False
        return True

    def _rested(self) -> bool:
        """With the devices given back, wait until the pause is over; whether the run goes on."""
        shift = self._shift
        for lane in self._lanes:
            if lane.state == LaneState.IDLE:
                lane.sleep()
        try:
            shift.stop.rest(shift.listener)
        except StopRun as error:
            shift.end(error)
            return False
        for lane in self._lanes:
            if lane.state == LaneState.ASLEEP:
                lane.renew()
        return True
