"""Renders on the devices of a Ray cluster. State is in the run folder alone: any worker, and the run, may die."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.cache import default_folder
from batch.base.errors import CannotGoOn, Interrupted, UserError
from batch.base.text import plural
from batch.engines.base import TICK_S, Seated, admit_all, no_texts
from batch.engines.ray.choice import CPU, RayChoice, resource
from batch.engines.ray.cluster import Cluster, require, without_devices
from batch.engines.ray.joining import joins, reached
from batch.engines.supervision import Supervision
from batch.records.events import Preparing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batch.engines.base import Admit, Check, Helm, Texts
    from batch.engines.ray.places import RayPlaces
    from batch.records.events import Listener
    from batch.records.receipts import Outcome
    from batch.records.spec import RunSpec
    from batch.records.tasks import EncodeTask, Task
    from batch.render.backend import Backend

TRIES = 3
"""Workers that an image may take with it: on a cluster one dies more easily than on a desk."""

GRACE_S = 10.0
"""Once one worker is ready the run waits so long for the others; those that come later join it."""

SAID_S = 10.0
"""Ray has found no device by then: it is said that the run waits for one."""


def check(devices: str | None, address: str) -> None:
    """See :func:`batch.engines.check`."""
    resource(devices)
    require()
    if joins(address):
        reached(address)


class RayEngine:
    """``state`` is the run's folder of records."""

    def __init__(self, state: Path, backend: Backend, choice: RayChoice | None = None) -> None:
        self._state, self._backend = state, backend
        self._choice = choice or RayChoice()
        self._cluster = Cluster()
        self._places: RayPlaces | None = None

    def start(self, devices: str | None, stop: Helm, *, most: int) -> Seated:
        """See :class:`~batch.engines.base.Engine`. Waits as long as all devices are taken by others."""
        kind = resource(devices)
        _refuse_rays_own(self._state.absolute().parent)
        self._say("joining the Ray cluster" if joins(self._choice.address) else "starting Ray")
        self._cluster.open(self._choice.address, stop)
        self._places = places = self._found(kind, most)
        with self._cluster.answering():
            self._gather(places, kind, stop)
        seats = tuple(place.seat for place in places.joined())
        notes, places.nodes.left_out = tuple(places.nodes.left_out), []
        return Seated(seats, notes)

    def _found(self, kind: str, most: int) -> RayPlaces:
        from batch.engines.ray import node
        from batch.engines.ray.nodes import Nodes
        from batch.engines.ray.places import RayPlaces
        from batch.engines.ray.shells import Shells

        if not node.found(kind, self._cluster.here):
            raise without_devices(kind, node.offer(), own=self._cluster.is_own)
        shells = Shells(self._backend, kind, self._state.parent.name)
        folders = (self._state, default_folder())
        nodes = Nodes(kind, self._cluster.here, shells, self._choice, folders)
        return RayPlaces(nodes, shells, most)

    def _gather(self, places: RayPlaces, kind: str, stop: Helm) -> None:
        """Until there are workers: all, or some and a little patience for the others."""
        since, first, said = time.monotonic(), 0.0, False
        while True:
            places.listen(TICK_S)
            self._pass_on(places)
            if stop.is_set():
                raise Interrupted(stop.reason)
            if places.nodes.error is not None:
                raise places.nodes.error
            now = time.monotonic()
            if any(places):
                first = first or now
                if not (places.waiting or places.nodes.busy) or now - first > GRACE_S:
                    return
            elif places.waiting and not said and now - since > SAID_S and places.is_queueing:
                said = True
                what = "CPU" if kind == CPU else "GPU"
                count = plural(len(places.waiting), what)
                self._say(f"every {what} of the Ray cluster is taken: waiting for one of {count}")
            elif not (places.waiting or places.nodes.busy):
                raise _nobody(places)

    def _say(self, text: str) -> None:
        if self._choice.listener is not None:
            self._choice.listener.on(Preparing(text))

    def _pass_on(self, places: RayPlaces) -> None:
        if self._choice.listener is not None:
            for event in places.taken_events():
                self._choice.listener.on(event)

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
        assert self._places is not None
        self._places.opened(listener)
        work = Supervision(
            self._places, tasks, spec, listener, stop=stop, admit=admit, check=check, texts=texts, tries=TRIES
        )
        with self._cluster.answering():
            yield from work.run()

    def close(self) -> None:
        """See :class:`~batch.engines.base.Engine`."""
        if self._places is not None:
            if not self._cluster.is_lost:
                self._places.close()
            self._places = None
        self._cluster.close()


def _refuse_rays_own(root: Path) -> None:
    """Raise :class:`UserError` for a run folder in the copy of a folder that ``ray job submit`` has made."""
    if any(part.startswith("_ray_pkg_") for part in root.parts):
        raise UserError(
            f"{root} lies in the copy that Ray has made of --working-dir, and removes: name a folder that stays, "
            f"--out /path/to/{root.name}"
        )


def _nobody(places: RayPlaces) -> Exception:
    """Why no worker has become ready."""
    if places.errors:
        return places.errors[0]
    return CannotGoOn("no node of the Ray cluster can be used: " + "; ".join(places.nodes.left_out))
