"""The devices of this machine that a run renders on, each with its worker process."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, cast

from batch.base.errors import CannotGoOn, Interrupted
from batch.engines.base import TICK_S, Seated
from batch.engines.handle import Handle
from batch.engines.lane import LOADS
from batch.engines.messages import Begin, Ended, Ready
from batch.engines.patience import FIRST_S
from batch.records.events import Seat

if TYPE_CHECKING:
    from batch.engines.base import Helm, WorkPlace
    from batch.records.spec import RunSpec
    from batch.render.backend import Backend


@dataclass(frozen=True, slots=True)
class KeptCrew:
    """Worker processes that have nothing to do, with their seats, and what they were started for."""

    asked: str | None
    devices: tuple[str, ...]
    """All that this means."""
    workers: tuple[tuple[Seat, Handle], ...]


class ProcessPlace:
    """A seat of this machine. Its first worker is there when it is made."""

    def __init__(self, places: ProcessPlaces, seat: Seat, line: Handle | None = None) -> None:
        self.seat = seat
        self._places = places
        self.line = line or places.spawn(seat)
        self.deaths = 0
        """Before it was ready."""

    def begin(self, spec: RunSpec) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        self.line.send(Begin(spec))

    def renew(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        self.line.close()
        self.line = self._places.spawn(self.seat)

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        self.line.close()


class ProcessPlaces:
    """Those of one run. ``state`` is where logs lie; ``later`` are the folders that the workers may go on to."""

    def __init__(self, state: Path, backend: Backend, later: Sequence[Path] = ()) -> None:
        self.state, self.backend = state, backend
        self._later = later
        self._asked: str | None = None
        self._devices: tuple[str, ...] = ()
        self._notes: list[str] = []
        self._shares = 1
        self._places: list[ProcessPlace] = []

    def __iter__(self) -> Iterator[WorkPlace]:
        return iter(tuple(self._places))

    def listen(self, seconds: float) -> Collection[int]:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        numbers = {place.line.connection: place.seat.number for place in self._places if not place.line.closed}
        if not numbers:
            time.sleep(seconds)
            return ()
        return [numbers[cast(Connection, ready)] for ready in wait(list(numbers), seconds)]

    def joined(self) -> Sequence[WorkPlace]:
        """See :class:`~batch.engines.base.WorkPlaces`: a machine gets no more devices."""
        return ()

    def leave(self, place: WorkPlace) -> None:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        self._places = [other for other in self._places if other is not place]

    def spawn(self, seat: Seat) -> Handle:
        """A worker for a seat. That of the first one, without a device yet, is told all that was asked for."""
        asked = seat.device or self._asked
        return Handle(self.state, asked, self.backend, self._later, number=seat.number, shares=self._shares)

    # From the beginning to the end

    def open(self, devices: str | None, stop: Helm, most: int) -> Seated:
        """Have workers at the devices asked for, ``most`` at most. Raises what keeps the first from starting."""
        self._asked = devices
        self._shares = min(most, devices.count(",") + 1) if devices else 1
        if not self._places:
            self._places = [ProcessPlace(self, Seat(number=0, device=""))]
            for _, error in self._wait(self._places, stop):
                raise error
        for place in self._places[most:]:
            place.close()
        self._places = self._places[:most]
        there = {place.seat.number for place in self._places}
        missing = [number for number in range(len(self._devices[:most])) if number not in there]
        more = [ProcessPlace(self, Seat(number=number, device=self._devices[number])) for number in missing]
        self._places += more
        for place, error in self._wait(more, stop):
            self._notes.append(f"{place.seat.device} is not used: {error}")
            self.leave(place)
        self._places.sort(key=lambda place: place.seat.number)
        return Seated(tuple(place.seat for place in self._places), tuple(self._notes))

    def adopt(self, crew: KeptCrew) -> None:
        """Go on with workers of the run before, which are at work for this one's folder already."""
        self._devices = crew.devices
        self._places = [ProcessPlace(self, seat, line) for seat, line in crew.workers]

    def part(self) -> KeptCrew | None:
        """Leave the workers, which have nothing in hand, to another run; None where there are none."""
        workers = tuple((place.seat, place.line) for place in self._places if not place.line.closed)
        self._places = []
        return KeptCrew(self._asked, self._devices, workers) if workers else None

    def close(self) -> None:
        """End all workers, when what they save is saved."""
        for place in self._places:  # all at once: each may take a while
            place.line.dismiss()
        for place in self._places:
            place.close()
        self._places = []

    def _wait(self, places: Sequence[ProcessPlace], stop: Helm) -> list[tuple[ProcessPlace, Exception]]:
        """Until their workers are ready; those that cannot be, and why."""
        waiting, failed = {place.seat.number: place for place in places}, list[tuple[ProcessPlace, Exception]]()
        begun = monotonic()
        while waiting:
            for number in self.listen(TICK_S):
                if (place := waiting.get(number)) is None:
                    continue
                try:
                    if self._is_ready(place):
                        del waiting[number]
                except Exception as error:  # noqa: BLE001 - what a worker ends with, whatever it is
                    failed.append((waiting.pop(number), error))
            if stop.is_set():
                for place in waiting.values():
                    place.line.kill()  # it has nothing to save, and may be busy importing for a while
                raise Interrupted(stop.reason)
            if monotonic() - begun > FIRST_S:
                for place in waiting.values():
                    place.line.kill()
                    failed.append((place, CannotGoOn("the worker process was not ready in time")))
                return failed
        return failed

    def _is_ready(self, place: ProcessPlace) -> bool:
        """Whether a worker has said so; another is begun when it has died. Raises what it ended with."""
        try:
            message = place.line.receive()
        except EOFError:
            death = place.line.death()
            place.deaths += 1
            if place.deaths >= LOADS:
                raise CannotGoOn(f"the worker process ended before it was ready: {death.why}") from None
            place.line = self.spawn(place.seat)
            return False
        if isinstance(message, Ended):
            place.line.death()
            raise message.error
        if not isinstance(message, Ready):
            return False
        if not self._devices:
            self._devices = message.devices or (message.device,)
            self._notes += [message.note] if message.note else []
        label = _label(self._devices, place.seat.number)
        place.seat = replace(place.seat, device=message.device, kind=message.kind, label=label)
        return True


def _label(devices: Sequence[str], number: int) -> str:
    """What people call a device; of several of one name, which."""
    device = devices[number]
    return device if devices.count(device) == 1 else f"{device} {devices[: number + 1].count(device)}"
