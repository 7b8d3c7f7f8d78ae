"""The session that a worker keeps warm, and the signs of life that it passes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from batch.base import checksums
from batch.base.errors import Interrupted, NeverLoads
from batch.plan.alike import load_key, session_key
from batch.records.events import Beat, Listener
from batch.records.kinds import Stage
from batch.records.receipts import CardState
from batch.records.spec import ModelSource, RunSpec
from batch.records.tasks import EncodeTask, Task, content_of

if TYPE_CHECKING:
    from batch.plan.alike import LoadKey
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


class Warm:
    """The session of the model at work; that of another model takes its place."""

    def __init__(self, spec: RunSpec, backend: Backend, listener: Listener, stop: Event) -> None:
        self._spec, self._backend = spec, backend
        self._listener, self._stop = listener, stop
        self._session: Session[Any] | None = None
        self._key: LoadKey | None = None

    def session(self, task: Task | EncodeTask) -> Session[Any]:
        """The one that a task needs."""
        key = load_key(task)
        if isinstance(task, EncodeTask) and self._key is not None and self._key[:2] == session_key(task):
            key = self._key  # for texts any autoencoder will do
        source = self._spec.models[task.model]
        _check_content(source)
        if self._session is None or self._key != key:
            self.close()
            source = replace(source, vae=key[2])
            self._session = self._backend.open(source, task.dtype, self._spec.device, measure=self._spec.measure)
            self._key = key
        return self._session

    def heartbeat(self, name: str) -> Heartbeat:
        """Passes signs of life on, of what is called that; raises :class:`Interrupted` when the run is stopped."""

        def beat(stage: Stage, part: int, parts: int) -> None:
            self._listener.on(Beat(name, stage, part, parts))
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
