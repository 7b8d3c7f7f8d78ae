"""The session that a worker keeps warm, and the signs of life that it passes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from batch.base import checksums
from batch.base.errors import Interrupted, NeverLoads
from batch.plan.alike import load_key
from batch.records.events import Beat, Listener
from batch.records.kinds import Stage
from batch.records.receipts import CardState
from batch.records.spec import ModelSource, RunSpec
from batch.records.tasks import EncodeTask, Task, content_of

if TYPE_CHECKING:
    from batch.render.backend import Backend, Heartbeat, Session


def _check_content(source: ModelSource) -> None:
    """Raise :class:`NeverLoads` where a checkpoint is another one by now: it is read whenever a part is loaded."""
    try:
        wanted = source.converted or content_of(source.revision)
        same = not source.file or checksums.of(Path(source.file)) == wanted
    except OSError as error:
        raise NeverLoads(f"the model {source.name} cannot be read any more: {error}") from None
    if not same:
        raise NeverLoads(
            f"the file of the model {source.name} has changed since this run began: put the old one back, or run "
            "the same command again to render everything with the new one"
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a session was opened for: what is all the same is served by one."""

    source: ModelSource
    dtype: str
    vae: str
    """The hash of an autoencoder that is not the model's own."""
    device: str
    measure: bool

    def encodes_as(self, other: _Opened) -> bool:
        """Whether texts are the same: for them any autoencoder will do."""
        return replace(self, source=replace(self.source, vae=""), vae="") == other


class Warm:
    """The session of the model at work; that of another model takes its place.

    ``before`` is that of a run before, in the same process: its session goes on where this run needs the same.
    """

    def __init__(
        self, spec: RunSpec, backend: Backend, listener: Listener, stop: Event, before: Warm | None = None
    ) -> None:
        self._spec, self._backend = spec, backend
        self._listener, self._stop = listener, stop
        self._session: Session[Any] | None = None
        self._opened: _Opened | None = None
        if before is not None and before._session is not None:
            self._session, self._opened = before._session, before._opened
            self._session.anew()

    def session(self, task: Task | EncodeTask) -> Session[Any]:
        """The one that a task needs."""
        source = self._spec.models[task.model]
        _check_content(source)
        wanted = self._wanted(source, task)
        if self._session is None or self._opened != wanted:
            self.close()
            self._session = self._backend.open(
                wanted.source, task.dtype, self._spec.device, measure=self._spec.measure
            )
            self._opened = wanted
        return self._session

    def _wanted(self, source: ModelSource, task: Task | EncodeTask) -> _Opened:
        vae = (task.vae.sha256 or "") if isinstance(task, Task) and task.vae else ""
        source = replace(source, vae=load_key(task)[2])
        wanted = _Opened(source, task.dtype, vae, self._spec.device, self._spec.measure)
        if isinstance(task, EncodeTask) and self._opened is not None and self._opened.encodes_as(wanted):
            return self._opened
        return wanted

    def heartbeat(self, name: str, ids: tuple[str, ...] = ()) -> Heartbeat:
        """Passes signs of life on, of images with these ids, or of a text.

        It raises :class:`Interrupted` when the run is stopped.
        """

        def beat(stage: Stage, part: int, parts: int) -> None:
            self._listener.on(Beat(name, stage, part, parts, ids))
            if self._stop.is_set():
                raise Interrupted("interrupted")

        return beat

    def card(self) -> CardState | None:
        """The card now, as the session's meter sees it."""
        return self._session.meter.card() if self._session is not None else None

    def close(self) -> None:
        """Give the device back."""
        if self._session is not None:
            self._session.close()
            self._session = None
