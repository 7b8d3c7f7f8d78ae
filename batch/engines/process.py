"""Sessions live in processes of their own, one for each device; this one lives on when they die."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.engines.base import admit_all, no_texts
from batch.engines.places import ProcessPlaces
from batch.engines.supervision import Supervision
from batch.records.events import Listener
from batch.records.receipts import Outcome
from batch.records.spec import RunSpec
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.base import Admit, Check, Helm, Seated, Texts
    from batch.engines.keep import Keep
    from batch.render.backend import Backend


class ProcessEngine:
    """Supervised worker processes, one for each device. ``state`` is where their logs lie.

    ``keep`` is where workers that a run before has left are taken from, and where these go.
    """

    def __init__(self, state: Path, backend: Backend, keep: Keep | None = None) -> None:
        later = keep.after(state.parent) if keep else ()
        self._places = ProcessPlaces(state, backend, later)
        self._keep = keep
        self._at_rest = False
        """All that the workers were given is saved, and they may serve another run."""

    def start(self, devices: str | None, stop: Helm, *, most: int) -> Seated:
        """See :class:`~batch.engines.base.Engine`."""
        crew = self._keep.take(self._places.state, devices, self._places.backend) if self._keep else None
        if crew is not None:
            self._places.adopt(crew)
        return self._places.open(devices, stop, most)

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
        self._at_rest = False
        yield from Supervision(
            self._places, tasks, spec, listener, stop=stop, admit=admit, check=check, texts=texts
        ).run()
        self._at_rest = not spec.recycle_after

    def close(self) -> None:
        """See :class:`~batch.engines.base.Engine`."""
        if self._keep is not None and self._at_rest and (crew := self._places.part()) is not None:
            self._keep.put(crew, self._places.backend)
        else:
            self._places.close()
