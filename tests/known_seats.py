"""A run of known times at several seats: each renders at its own speed, and takes what waits when it is free."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from batch.plan.alike import load_key, session_key
from batch.records.events import Beat, Began, Crew, Encoded, Event, Happening, Loading, Seat
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import Machine, Outcome
from batch.records.tasks import Task
from tests.known_times import Times, Told, a_receipt

STARTS_S = 3.0


def seats(*kinds: str) -> tuple[Seat, ...]:
    """Cards of these kinds."""
    return tuple(
        Seat(number=number, device=f"cuda:{number}", kind=kind, label=f"cuda:{number}")
        for number, kind in enumerate(kinds)
    )


@dataclass
class Sits:
    """One seat in the simulation."""

    seat: Seat
    times: Times
    loaded: object = None
    task: Task | None = None
    turn: int = 0
    """What was planned for a turn before is void: its worker has died."""
    gone: bool = False


@dataclass
class Run:
    """Tells what a run at these seats tells. ``factors`` are times that a kind takes longer."""

    tasks: Sequence[Task]
    crew: Sequence[Seat]
    factors: dict[str, float]
    times: Times
    texts: int = 0
    """Of each model, encoded before its first image."""
    folder: Path = Path("run")
    now: float = STARTS_S
    pause: tuple[float, float] | None = None
    """From when on none is begun, and how long it then rests."""
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _told: deque[Event] = field(default_factory=deque)
    _number: int = 0

    def __post_init__(self) -> None:
        self._waiting = list(self.tasks)
        self._sits = [Sits(seat, self._scaled(self.factors[seat.kind])) for seat in self.crew]
        self._texts: dict[object, int] = {}
        """To be begun, by session; and those that are open."""
        self._open: dict[object, int] = {}
        self._asked = self._encoded = 0

    def _scaled(self, factor: float) -> Times:
        names = ("step", "decode", "text", "load", "first", "between")
        return replace(self.times, **{name: getattr(self.times, name) * factor for name in names})

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Something happens then."""
        self._number += 1
        heapq.heappush(self._heap, (seconds, self._number, what))

    def dies(self, number: int, *, leaves: bool = False) -> None:
        """The worker at a seat; its image goes back, and another worker takes its place, or none."""
        sits = self._sits[number]
        sits.turn, sits.loaded, sits.gone = sits.turn + 1, None, leaves
        if sits.task is not None:
            self._waiting.insert(0, sits.task)
            sits.task = None
        kind = HappeningKind.SEAT_LEFT if leaves else HappeningKind.WORKER_DIED
        self._tell(Happening(kind=kind, text="it died", seat=number))
        if leaves:
            self._tell(Crew(tuple(item.seat for item in self._sits if not item.gone)))
        self._all_pull()

    def told(self) -> Iterator[Told]:
        """All events, and when."""
        count = len(self.tasks)
        yield Told(0.0, Began(name="known", folder=self.folder, total=count, done=0, to_render=count))
        yield Told(STARTS_S, Crew(tuple(self.crew)))
        self.at(STARTS_S, self._all_pull)
        while self._heap:
            self.now, _, what = heapq.heappop(self._heap)
            what()
            while self._told:
                yield Told(self.now, self._told.popleft())

    def _tell(self, event: Event) -> None:
        self._told.append(event)

    def _all_pull(self) -> None:
        for sits in self._sits:
            if sits.task is None and not sits.gone:
                self._pull(sits)

    def _pull(self, sits: Sits) -> None:
        if self.pause is not None and self.now >= self.pause[0]:
            self._rest()
            return
        task = next((item for item in self._waiting if load_key(item) == sits.loaded), None)
        task = task or next(iter(self._waiting), None)
        if task is None:
            return
        session = session_key(task)
        if self.texts and session not in self._texts:
            self._texts[session] = self._open[session] = self.texts
            self._asked += self.texts
            self._tell(Loading(self.texts))
            self._all_pull()
            return
        if self._open.get(session):
            if self._texts[session]:
                self._encode(sits, task)
            return  # it waits for the texts that others encode
        self._waiting.remove(task)
        self._render(sits, task)

    def _rest(self) -> None:
        if all(sits.task is None for sits in self._sits) and self.pause is not None:
            seconds, self.pause = self.pause[1], None
            self._tell(Happening(kind=HappeningKind.PAUSED, text="paused"))
            self.at(self.now + seconds, self._resumed)

    def _resumed(self) -> None:
        self._tell(Happening(kind=HappeningKind.RESUMED, text="resumed"))
        for sits in self._sits:
            sits.loaded = None
        self._all_pull()

    def _then(self, sits: Sits, seconds: float, what: Callable[[], None]) -> None:
        turn = sits.turn
        self.at(seconds, lambda: what() if sits.turn == turn else None)

    def _encode(self, sits: Sits, task: Task) -> None:
        self._texts[session_key(task)] -= 1
        sits.task = replace(task, id="a text")
        self._tell(Beat("a text", Stage.ENCODE, seat=sits.seat.number))
        self._then(sits, self.now + sits.times.text, lambda: self._has_encoded(sits, task))

    def _has_encoded(self, sits: Sits, task: Task) -> None:
        sits.task = None
        self._open[session_key(task)] -= 1
        self._encoded += 1
        self._tell(Encoded(self._encoded, self._asked))
        self._all_pull()

    def _render(self, sits: Sits, task: Task) -> None:
        times, sits.task = sits.times, task
        first = load_key(task) != sits.loaded
        load = times.load * times.models.get(task.model, 1.0) if first else None
        sits.loaded = load_key(task)
        begun = self.now + (load or 0.0) + times.between
        denoised = times.denoise(task) + (times.first if first else 0.0)
        for step in range(1, task.steps + 1):
            beat = Beat(task.name, Stage.DENOISE, step, task.steps, (task.id,), sits.seat.number)
            self._then(sits, begun + denoised * step / task.steps, lambda beat=beat: self._tell(beat))
        decode = Beat(task.name, Stage.DECODE, ids=(task.id,), seat=sits.seat.number)
        self._then(sits, begun + denoised, lambda: self._tell(decode))
        receipt = a_receipt(task, times, denoised, load, encoded=0.0)
        receipt = replace(receipt, machine=Machine(device=sits.seat.kind))
        outcome = Outcome(key=task.id, status="done", receipt=receipt)
        self._then(sits, begun + denoised + times.decoded(task), lambda: self._done(sits, outcome))

    def _done(self, sits: Sits, outcome: Outcome) -> None:
        sits.task = None
        self.at(self.now + self.times.save, lambda: self._tell(outcome))
        self._pull(sits)
