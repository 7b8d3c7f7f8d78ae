"""The line of a run to the host of one worker: what is told goes one way, a long poll brings back what is said."""

from __future__ import annotations

import pickle
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from batch.base.errors import StopRun, UserError
from batch.engines.death import Death
from batch.engines.messages import Assignment, Bye, Ended, Stop
from batch.engines.ray.belongings import as_seen_here, as_seen_there
from batch.engines.ray.wire import Delivered, Died, Embeds, Hosted, Renew, RungsTaken, Told
from batch.records.kinds import Status
from batch.records.receipts import Outcome

if TYPE_CHECKING:
    from batch.engines.messages import Begin, FromWorker, ToWorker
    from batch.engines.ray.adoption import Adoption
    from batch.engines.ray.node import Node
    from batch.engines.ray.wire import FromHost

SHORT_S = 15.0
END_S = 45.0
"""So long may a worker save that is to end; its host knows a shorter limit."""

UNAVAILABLE_S = 60.0
"""A host that cannot be reached for so long is gone."""


class RayLine:
    """Speaks to one host, whatever becomes of the workers there. See :class:`~batch.engines.base.WorkerLine`."""

    def __init__(self, post: Any, node: Node) -> None:
        self._post, self._node = post, node
        self._number = 0
        self._heard = 0
        self._said: deque[FromHost] = deque()
        self._adoption: Adoption | None = None
        self._rungs = b""
        self._device = ""
        self._unreached: float | None = None
        """Since when the host cannot be reached."""
        self.lost: Death | None = None
        """How the host itself ended, if it has."""
        self._told = False
        """That was asked for."""
        self.hosted = False
        """Ray has found a device for it."""
        self.ref = self._ask()

    # What is said

    @property
    def has_something(self) -> bool:
        """Whether :meth:`receive` has something to say."""
        return bool(self._said) or (self.lost is not None and not self._told)

    def take(self) -> None:
        """The poll has an answer: keep it to be received, and ask again."""
        try:
            first, said = ray.get(self.ref)
        except ActorUnavailableError:
            self._not_reached()
        except RayError as error:
            self.lost = self._node.explained(error)
        else:
            self._unreached = None
            self._said.extend(pickle.loads(data) for data in said[max(0, self._heard - first) :])
            self._heard = max(self._heard, first + len(said))
        if self.lost is None:
            self.ref = self._ask()

    def _not_reached(self) -> None:
        now = time.monotonic()
        self._unreached = now if self._unreached is None else self._unreached
        if now - self._unreached > UNAVAILABLE_S:
            self.lost = Death(f"{self._node.name} cannot be reached", "", innocent=True)
        time.sleep(0.1)  # the next poll may fail as soon

    def _ask(self) -> Any:
        return self._post.hear.remote(self._heard)

    def receive(self) -> FromWorker | None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        while self._said:
            if isinstance(self._said[0], Died):
                raise EOFError  # :meth:`death` takes it away
            if (message := self._unpacked(self._said.popleft())) is not None:
                return message
        if self.lost is not None:
            raise EOFError
        return None

    def _unpacked(self, message: FromHost) -> FromWorker | None:
        """A message of the worker; None for what is only between this line and the host."""
        adoption = self._adoption
        if isinstance(message, Outcome):
            message = as_seen_here(message, self._node.beside)
        if isinstance(message, Delivered | Embeds | RungsTaken):
            return self._taken_over(message, adoption) if adoption is not None else None
        if isinstance(message, Hosted):
            self.hosted = True
            return None
        if isinstance(message, Died):
            return None
        if isinstance(message, Outcome) and message.status == Status.FAILED:
            self._written(message)
        return message

    def _written(self, failure: Outcome) -> None:
        """Write down a failure that the worker has written where the run does not see it."""
        if self._adoption is not None and not self._node.shares_folder:
            self._adoption.failed(failure)

    def _taken_over(self, message: Delivered | Embeds | RungsTaken, adoption: Adoption) -> FromWorker | None:
        try:
            if isinstance(message, Delivered):
                delivered = replace(message, outcome=as_seen_here(message.outcome, self._node.beside))
                return adoption.image(delivered)
            if isinstance(message, Embeds):
                adoption.keep(message.made)
                self._node.has.update(message.made)
        except StopRun as error:  # as a worker says it that saves there itself, and ends
            self.kill()
            return Ended(error)
        if isinstance(message, RungsTaken):
            adoption.rungs(message.data)
        return None

    # What is told

    def begin(self, begin: Begin, adoption: Adoption) -> None:
        """Tell the worker of the run."""
        self._adoption, self._device, self._rungs = adoption, begin.spec.device, b""
        shared = self._node
        self._tell(Told(message=begin, apart=not shared.shares_folder, cache=shared.shares_cache))

    def send(self, message: ToWorker) -> None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        if isinstance(message, Assignment) and self._adoption is not None:
            self._assign(message, self._adoption)
        else:
            self._tell(Told(message=message))

    def _assign(self, message: Assignment, adoption: Adoption) -> None:
        """An assignment, with the embeddings and the rungs that its node lacks."""
        names: list[str] = []
        if not self._node.shares_cache:
            wanted = adoption.embeds_for((message.task, *message.more), self._device)
            names = [name for name in wanted if name not in self._node.has]
        rungs = None
        if not self._node.shares_folder and (now := adoption.rungs_now()) != self._rungs:
            rungs = self._rungs = now
        message = replace(
            message,
            task=as_seen_there(message.task, self._node.beside),
            more=tuple(as_seen_there(task, self._node.beside) for task in message.more),
        )
        parts = [adoption.shipped(name) for name in names]
        self._tell(Told(message=message, embeds=tuple(names), rungs=rungs), *parts)
        self._node.has.update(names)

    def _tell(self, order: Told | Renew, *parts: Any) -> None:
        """Whether it arrives shows in what is said: a host that is gone ends the poll."""
        number, self._number = self._number, self._number + 1
        self._post.tell.remote(number, pickle.dumps(order), *parts)

    def renew(self) -> None:
        """Have the host start a fresh worker."""
        self._tell(Renew())

    # Ends

    def stacks(self) -> str:
        """See :class:`~batch.engines.base.WorkerLine`."""
        with suppress(RayError):
            text: str = ray.get(self._post.stacks.remote(), timeout=SHORT_S)
            return text
        return ""

    def kill(self) -> None:
        """End the worker, and with it its host where that does not answer."""
        if self.lost is not None:
            return
        try:
            ray.get(self._post.kill.remote(), timeout=END_S)
        except RayError:
            ray.kill(self._post)

    def death(self) -> Death:
        """See :class:`~batch.engines.base.WorkerLine`."""
        if (death := self._until_died(SHORT_S)) is not None:
            return death
        if self.lost is None:
            ray.kill(self._post)
            self._until_died(SHORT_S)
        self._told = True
        return self.lost or Death("its host does not answer", "")

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkerLine`. The host stays."""
        if self.lost is None:
            self.send(Stop())
            self.send(Bye())
            if self._until_died(END_S) is None:
                self.kill()
                self._until_died(SHORT_S)

    def _until_died(self, seconds: float) -> Death | None:
        """Take over all that the worker has said until it ended; None where it does not, or its host is gone."""
        deadline = time.monotonic() + seconds
        while True:
            while self._said:
                message = self._said.popleft()
                if isinstance(message, Died):
                    return message.death
                self._unpacked(message)
            left = deadline - time.monotonic()
            if self.lost is not None or left <= 0:
                return None
            if ray.wait([self.ref], timeout=min(left, 1.0))[0]:
                self.take()

    def end(self, *, at_once: bool = False) -> Any:
        """End the worker, when what it saves is saved or at once, and its host: what is done when they have."""
        return self._post.close.remote(at_once=at_once)

    def drop(self) -> None:
        """End the host at once; Ray gives its device to others."""
        with suppress(RayError):
            ray.kill(self._post)


class NoLine:
    """To a worker at a node that is gone: it says so, once. See :class:`~batch.engines.base.WorkerLine`."""

    def __init__(self, why: str) -> None:
        self._why = why
        self._told = False
        self.has_something = True
        """Until it has been asked for all."""

    def send(self, _message: ToWorker) -> None:
        """Nobody hears it."""

    def receive(self) -> FromWorker | None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        if self._told:
            raise EOFError
        self._told = True
        return Ended(UserError(self._why))

    def stacks(self) -> str:
        """None."""
        return ""

    def kill(self) -> None:
        """It is gone."""

    def death(self) -> Death:
        """See :class:`~batch.engines.base.WorkerLine`."""
        self.has_something = False
        return Death(self._why, "", innocent=True)

    def close(self) -> None:
        """It is gone."""
