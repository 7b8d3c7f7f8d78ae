"""What an engine is: it renders tasks somewhere, and tells what comes up on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Protocol

from batch.base.errors import Interrupted
from batch.records.events import Listener, Seat
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.death import Death
    from batch.engines.messages import FromWorker, ToWorker

TICK_S = 0.2
"""So often at least it is looked at what is asked of the run, and at workers that say nothing."""

Admit = Callable[[Task, int], None]
"""Asked before an image is started at a seat, given by its number.

Raises a :class:`~batch.base.errors.StopRun` when no more may be started there; other seats ask for themselves.
"""


Check = Callable[[Task, int], None]
"""The same question, where the image is not started yet, as before a pause: it counts nothing."""


def admit_all(_task: Task, _seat: int = 0) -> None:
    """Any image may be started."""


class Helm(Event):
    """What is asked of a run while it goes on; set, as an event, when what is at work is to be dropped.

    This one asks for nothing else. An engine looks at it every moment, between images and while it renders one.
    """

    @property
    def reason(self) -> str:
        """Why it stops."""
        return "interrupted"

    @property
    def finishing(self) -> bool:
        """Nothing more is to be started; the image at work is finished."""
        return False

    @property
    def pausing(self) -> bool:
        """After the image at work everything is to be saved and the device given back."""
        return False

    @property
    def out_of_time(self) -> bool:
        """A worker that was told to drop what it is at, and says nothing, cannot be waited for any longer."""
        return False

    def tell(self, listener: Listener) -> None:
        """Tell what was asked since the last time."""

    def rest(self, listener: Listener) -> None:
        """Wait, with nothing at work, until a pause is over.

        Raises the :class:`~batch.base.errors.StopRun` that ends the run meanwhile.
        """

    def between(self, listener: Listener) -> None:
        """Obey where nothing is at work: rest as long as a pause lasts.

        Raises :class:`~batch.base.errors.Interrupted` where the run is to stop.
        """
        if self.finishing or self.is_set():
            self.tell(listener)
            raise Interrupted(self.reason)
        if self.pausing:
            self.rest(listener)


Texts = Callable[[Iterable[Task]], Sequence[EncodeTask]]
"""Given the images that wait, in order: the texts to be encoded before the first of them is started."""


def no_texts(_images: Iterable[Task]) -> Sequence[EncodeTask]:
    """None: whatever is to be encoded is among the tasks."""
    return ()


@dataclass(frozen=True, slots=True)
class Seated:
    """Where a run is rendered: at least one seat."""

    seats: tuple[Seat, ...]
    notes: tuple[str, ...] = ()
    """What to know of the choice, for people: devices that are left out."""


class Engine(Protocol):
    """Renders tasks. Exactly one outcome per task that was started, in any order.

    A task's failure is an outcome, never an exception; a :class:`~batch.base.errors.StopRun` ends the run.
    When ``stop`` is set, what is being saved is committed, what is being rendered is dropped, and
    :class:`~batch.base.errors.Interrupted` is raised; so too where it is ``finishing``, and with what ``admit``
    raises, save that nothing is dropped then. While it is ``pausing`` the device is given back between two images,
    save for a measurement, which pauses between its processes; where ``check`` lets nothing start, the run ends.

    The listener is told every ``Beat`` and ``Happening``, and a ``Crew`` whenever a seat joins or leaves. Outcomes
    are yielded and not told: while the next image is rendered, save by an engine in this process, which can yield
    only when that is done.
    """

    def start(self, devices: str | None, stop: Helm, *, most: int) -> Seated:
        """Choose the devices, all of one kind as torch calls it, so many at most.

        Raises :class:`~batch.base.errors.UserError` where there is none.
        """
        ...

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
        """Run the tasks in order, and before an image what ``texts`` asks for. Called once."""
        ...

    def close(self) -> None:
        """Give everything back; called once, whatever happened."""
        ...


class WorkerLine(Protocol):
    """The line to one worker process, wherever it runs. What it says is taken without waiting."""

    def send(self, message: ToWorker, /) -> None:
        """Say something; a worker that is gone is noticed by :meth:`receive`."""
        ...

    def receive(self) -> FromWorker | None:
        """What it said next, or None where it has said nothing. Raises EOFError when the process is gone."""
        ...

    def stacks(self) -> str:
        """Where every thread of the process is; empty when it cannot be had."""
        ...

    def kill(self) -> None:
        """End it at once. Raises :class:`~batch.base.errors.StoppedEarly` when even that does not help."""
        ...

    def death(self) -> Death:
        """Wait for the end and say how it came about."""
        ...

    def close(self) -> None:
        """Let it drop what it renders, save what is rendered, and end."""
        ...


class WorkPlace(Protocol):
    """A seat with its worker."""

    @property
    def seat(self) -> Seat:
        """Where it is."""
        ...

    @property
    def line(self) -> WorkerLine:
        """To the worker that sits there now."""
        ...

    def begin(self, spec: RunSpec, /) -> None:
        """Tell the worker of the run; ``spec`` names the device, and no other seat has its ``runner``."""
        ...

    def renew(self) -> None:
        """Put a fresh worker in the place of the last one, which ends. Without waiting until it is ready."""
        ...

    def close(self) -> None:
        """End the worker, when what it saves is saved."""
        ...


class WorkPlaces(Protocol):
    """All places of a run, as an engine has them."""

    def __iter__(self) -> Iterator[WorkPlace]:
        """Those that there are now."""
        ...

    def listen(self, seconds: float, /) -> Collection[int]:
        """Wait until a worker has said something or is gone, so long at most: the numbers of their seats."""
        ...

    def joined(self) -> Sequence[WorkPlace]:
        """Places that have come since the last time: another machine is there. They are not begun."""
        ...

    def leave(self, place: WorkPlace, /) -> None:
        """Nothing more is rendered there; its worker is gone."""
        ...
