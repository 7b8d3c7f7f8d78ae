"""What comes from nodes that do not see the run folder, put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from batch.engines.prompts import unkept
from batch.engines.ray.parcels import KEPT_AS
from batch.engines.saving import stepped_aside, unsaved
from batch.plan.texts import encode_tasks
from batch.records.kinds import Status
from batch.records.receipts import Failure, Outcome
from batch.records.tasks import EncodeTask, Task
from batch.store import rungs
from batch.store.embeds import EmbedCache
from batch.store.folder import RunFolder

if TYPE_CHECKING:
    from batch.engines.ray.wire import Delivered
    from batch.records.events import Listener
    from batch.records.receipts import Receipt
    from batch.records.spec import RunSpec


SHIPPED = 64
"""Embeddings that stay in Ray's store: a few megabytes each."""


class Adoption:
    """Of one seat, whose files are written under its own name."""

    def __init__(self, spec: RunSpec, listener: Listener, shipped: dict[str, Any]) -> None:
        """``shipped`` are the embeddings in Ray's store, by name: all seats share them."""
        self.spec, self.listener, self._shipped = spec, listener, shipped
        self.folder = RunFolder(Path(spec.root), spec.runner, spec.held)
        self._cache = EmbedCache(Path(spec.cache))

    def image(self, delivered: Delivered) -> Outcome:
        """Commit an image; its outcome, a failure where it cannot be written.

        Raises :class:`~batch.base.errors.DiskFull` and :class:`~batch.base.errors.FolderLost`.
        """
        receipt = delivered.outcome.receipt
        assert receipt is not None
        try:
            if (names := self.folder.make_way(receipt.task, self.spec.moved)) is not None:
                self.listener.on(stepped_aside(receipt.task, *names))
            committed = self.folder.adopt(receipt, delivered.files)
        except (OSError, ValueError) as error:
            return self._unsaved(receipt, error)
        return replace(delivered.outcome, receipt=committed)

    def _unsaved(self, receipt: Receipt, error: Exception) -> Outcome:
        info = unsaved(self.folder, self.spec, receipt.task, None, error)
        failure = Failure(
            task=receipt.task,
            error=info,
            measurement=receipt.measurement,
            machine=receipt.machine,
            attempts=receipt.attempts,
            started_at=receipt.started_at,
        )
        self.folder.fail(failure)
        return Outcome(key=receipt.task.id, status=Status.FAILED, failure=failure, error=info)

    def failed(self, outcome: Outcome) -> Outcome:
        """Write down a failure of which the worker has written elsewhere."""
        if outcome.failure is not None:
            self.folder.fail(outcome.failure)
        return outcome

    def rungs(self, data: bytes) -> None:
        """Have a rung that one worker took hold for all."""
        with suppress(OSError):  # on a full disk it is learned anew
            rungs.merge(self.folder.state, data, self.folder.runner)

    def rungs_now(self) -> bytes:
        """``rungs.json`` as it is; empty where there is none."""
        try:
            return (self.folder.state / rungs.FILE).read_bytes()
        except OSError:
            return b""

    # Embeddings

    def keep(self, made: Mapping[str, bytes]) -> None:
        """Put embeddings into the run's cache. Raises :class:`StopRun` where they cannot be kept."""
        for name, data in made.items():
            try:
                self._cache.write(name, data)
            except OSError as error:
                raise unkept(self._cache, error) from None

    def embeds_for(self, tasks: Sequence[Task | EncodeTask], device: str) -> list[str]:
        """Names of the embeddings that tasks need and the run has."""
        keys: dict[str, None] = {}
        for task in tasks:
            if isinstance(task, Task):
                texts = encode_tasks(task, self.spec.models[task.model].family, device)
                keys.update(dict.fromkeys(text.key for text in texts))
        names = [form.format(key) for key in keys for form in KEPT_AS]
        return [name for name in names if self._cache.has(name)]

    def shipped(self, name: str) -> Any:
        """An embedding in Ray's store, from which every node takes it by itself."""
        if name not in self._shipped:
            while len(self._shipped) >= SHIPPED:  # the next node that lacks it has it put there anew
                self._shipped.pop(next(iter(self._shipped)))
            self._shipped[name] = ray.put(self._cache.read(name) or b"")
        return self._shipped[name]
