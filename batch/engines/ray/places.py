"""The devices of a cluster that a run renders on: those that Ray gives it, as they come and go."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from batch.base.errors import CannotGoOn, UserError
from batch.base.text import plural
from batch.engines.lane import LOADS
from batch.engines.messages import Begin, Ended, Ready
from batch.engines.ray import node as nodes
from batch.engines.ray.adoption import Adoption
from batch.engines.ray.choice import GPU
from batch.engines.ray.line import END_S, NoLine, RayLine
from batch.records.events import Happening, Listener, Seat
from batch.records.kinds import HappeningKind

if TYPE_CHECKING:
    from batch.engines.base import WorkPlace
    from batch.engines.ray.node import Node
    from batch.engines.ray.nodes import Nodes
    from batch.engines.ray.shells import Shells
    from batch.records.spec import RunSpec


class RayPlace:
    """A device of a node, with the host of its worker. See :class:`~batch.engines.base.WorkPlace`."""

    def __init__(self, places: RayPlaces, node: Node) -> None:
        self._places, self.node = places, node
        self.line: RayLine | NoLine = places.host(node)
        self.seat = Seat(number=-1, device="")
        self.starts = 0
        """Workers that ended before one was ready."""

    def begin(self, spec: RunSpec) -> None:
        """See :class:`~batch.engines.base.WorkPlace`."""
        if isinstance(self.line, RayLine):
            adoption = self._places.adoption(spec)
            self.line.begin(Begin(_as_seen_from(self.node, spec)), adoption)

    def renew(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`. Where the host is gone, another one is asked of Ray."""
        if not isinstance(self.line, RayLine):
            return
        if self.line.lost is None:
            self.line.renew()
        elif nodes.is_alive(self.node.id):
            self.line = self._places.host(self.node)
        else:
            self.line = NoLine(f"{self.node.name} has left the cluster")

    def close(self) -> None:
        """See :class:`~batch.engines.base.WorkPlace`. Ray's device stays this run's."""
        self.line.close()


class RayPlaces:
    """Those of one run. See :class:`~batch.engines.base.WorkPlaces`."""

    def __init__(self, found: Nodes, shells: Shells, most: int) -> None:
        """``most`` devices are of use at once."""
        self.nodes, self._shells, self._most = found, shells, most
        self._candidates: list[RayPlace] = []
        """Hosts that Ray has no device for yet, or whose worker is not ready."""
        self._places: list[RayPlace] = []
        self._joined: list[RayPlace] = []
        self._numbers = 0
        self._kind = ""
        """Of the first device, as torch calls it: cuda."""
        self._listener: Listener | None = None
        self._shipped: dict[str, Any] = {}
        """Embeddings in Ray's store, by name."""
        self.errors: list[Exception] = []
        """What workers ended with that were never ready."""

    def __iter__(self) -> Iterator[WorkPlace]:
        return iter(tuple(self._places))

    @property
    def waiting(self) -> Sequence[RayPlace]:
        """Hosts that are not ready."""
        return self._candidates

    @property
    def is_queueing(self) -> bool:
        """Whether Ray has no device for any of them."""
        return not any(isinstance(place.line, RayLine) and place.line.hosted for place in self._candidates)

    def host(self, node: Node) -> RayLine:
        """A host for a worker, once Ray has a device for it."""
        return RayLine(self._shells.post(node), node)

    def opened(self, listener: Listener) -> None:
        """The run begins: who is told from now on."""
        self._listener = listener

    def adoption(self, spec: RunSpec) -> Adoption:
        """Of what a seat sends."""
        assert self._listener is not None
        return Adoption(spec, self._listener, self._shipped)

    # What is said

    def listen(self, seconds: float) -> Collection[int]:
        """See :class:`~batch.engines.base.WorkPlaces`. Also goes on with nodes that are on their way."""
        lines = {line.ref: line for line in self._lines()}
        full = any(place.line.has_something for place in self._places)
        refs = [*lines, *self.nodes.refs]
        if not refs:
            time.sleep(0.0 if full else seconds)
        answered = ray.wait(refs, num_returns=1, timeout=0.0 if full else seconds)[0] if refs else []
        if answered:  # with what else is there
            answered = ray.wait(refs, num_returns=len(refs), timeout=0.0)[0]
        for ref in answered:
            if ref in lines:
                lines[ref].take()
        self._arrive([ref for ref in answered if ref not in lines])
        return [place.seat.number for place in self._places if place.line.has_something]

    def _lines(self) -> Iterator[RayLine]:
        for place in (*self._places, *self._candidates):
            if isinstance(place.line, RayLine) and place.line.lost is None:
                yield place.line

    def _arrive(self, answered: list[Any]) -> None:
        """Nodes, hosts and workers on their way, each a step further."""
        self.nodes.step(answered)
        while self.nodes.ready:
            node = self.nodes.ready.popleft()
            room = self._most - len(self._places) - len(self._candidates)
            self._candidates += [RayPlace(self, node) for _ in range(min(node.units, room))]
        for place in tuple(self._candidates):
            if place.line.has_something:
                self._look(place)
        if self._listener is not None:
            self._tell(self._listener)

    def _look(self, place: RayPlace) -> None:
        """A host that was waited for has said something."""
        try:
            message = place.line.receive()
        except EOFError:
            place.starts += 1
            death = place.line.death()
            if place.starts < LOADS and not death.innocent:
                place.renew()
                return
            message = Ended(CannotGoOn(f"the worker on {place.node.name} ended before it was ready: {death.why}"))
        if isinstance(message, Ended):
            self._refuse(place, message.error)
        elif isinstance(message, Ready):
            self._seat(place, message)

    def _seat(self, place: RayPlace, ready: Ready) -> None:
        """A worker is ready; if its device is of the kind of all, it belongs to the run."""
        kind = ready.device.partition(":")[0]
        if self.nodes.kind == GPU and kind == "cpu":
            self._refuse(place, _without_gpu(place.node))
            return
        if (self._kind or kind) != kind:
            self._refuse(place, CannotGoOn(f"it renders on {kind}, and the run on {self._kind}"))
            return
        self._kind = kind
        self._candidates.remove(place)
        same = sum(other.node is place.node for other in self._places)
        where = f"{kind} {same + 1}" if place.node.units > 1 else kind
        place.seat = Seat(
            number=self._numbers,
            device=ready.device,
            kind=ready.kind,
            host="" if place.node.is_here else place.node.name,
            label=where if place.node.is_here else f"{place.node.name} {where}",
        )
        self._numbers += 1
        self._places.append(place)
        self._joined.append(place)

    def _refuse(self, place: RayPlace, error: Exception) -> None:
        self._candidates.remove(place)
        self.errors.append(error)
        self.nodes.left_out.append(f"a device of {place.node.name} is not used: {error}")
        if isinstance(place.line, RayLine):
            place.line.drop()

    def _tell(self, listener: Listener) -> None:
        """What has come up with nodes."""
        for event in self.taken_events():
            listener.on(event)
        while self.nodes.left_out:
            listener.on(Happening(kind=HappeningKind.SEAT_LEFT, text=self.nodes.left_out.pop(0)))

    def taken_events(self) -> list[Any]:
        """What nodes have told of downloads since the last call."""
        told = list(self.nodes.told)
        self.nodes.told.clear()
        return told

    # Coming and going

    def joined(self) -> Sequence[WorkPlace]:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        came, self._joined = self._joined, []
        return came

    def leave(self, place: WorkPlace) -> None:
        """See :class:`~batch.engines.base.WorkPlaces`."""
        for mine in self._places:
            if mine is place and isinstance(mine.line, RayLine):
                mine.line.drop()
        self._places = [other for other in self._places if other is not place]

    def close(self) -> None:
        """End all workers, when what they save is saved, and give all devices back."""
        ready = [place.line for place in self._places if isinstance(place.line, RayLine)]
        begun = [place.line for place in self._candidates if isinstance(place.line, RayLine)]
        ending = [line.end() for line in ready if line.lost is None]
        ending += [line.end(at_once=True) for line in begun if line.lost is None and line.hosted]
        if ending:
            ray.wait(ending, num_returns=len(ending), timeout=END_S)
        for line in (*ready, *begun):
            line.drop()
        self._places, self._candidates = [], []


def _without_gpu(node: Node) -> UserError:
    return UserError(
        f"Ray offers {plural(node.units, 'GPU')} on {node.name}, and torch finds none there. Is its build of "
        "torch for the CPU alone, or was `ray start --num-gpus` told more than there are? "
        "--devices cpu renders on CPUs"
    )


def _as_seen_from(node: Node, spec: RunSpec) -> RunSpec:
    """A run with the places of that node."""
    models = {
        name: replace(node.sources.get(name, source), keeps_encoders=source.keeps_encoders)
        for name, source in spec.models.items()
    }
    return replace(
        spec,
        root=str(Path(spec.root).absolute()),
        cache=str(Path(spec.cache).absolute()) if node.shares_cache else node.cache,
        models=models,
        latents={task: str(Path(path).absolute()) for task, path in spec.latents.items()},
    )
