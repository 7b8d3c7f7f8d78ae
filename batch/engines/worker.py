"""Session and store together: one task done."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from batch.engines import Control
from batch.errors import CannotGoOn, Interrupted, StopRun, UserError
from batch.limits import DiskFull
from batch.plan import encode_tasks
from batch.plan.catalogue import FAMILIES
from batch.records import (
    EncodeTask,
    ErrorInfo,
    Failure,
    Machine,
    Measurement,
    Outcome,
    Receipt,
    RunSpec,
    StagePeak,
    Task,
)
from batch.render import device
from batch.render.session import Rendered, RenderError, Session
from batch.store import disk
from batch.store.embeds import EmbedCache
from batch.store.folder import RunFolder

QUEUE = 2
"""Images waiting to be saved: more would only hold memory (50 MB each at 5376x3072)."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    task: Task
    number: int
    started_at: str


class Worker:
    """Keeps the session a task needs warm, and saves behind the next image."""

    def __init__(self, spec: RunSpec, control: Control) -> None:
        _check_latents(spec)
        self._spec = spec
        self._control = control
        self._folder = RunFolder(Path(spec.root), spec.runner)
        self._embeds = EmbedCache(Path(spec.cache))
        self._machine: Machine = device.describe(spec.device)
        self._attempts = {key: failure.attempts for key, failure in self._folder.failures().items()}
        self._encoded: dict[str, StagePeak] = {}
        self._session: Session | None = None
        self._session_key: tuple[str, str] | None = None
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._saving: deque[Future[Outcome]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._saver.shutdown(wait=True)
        if self._session is not None:
            self._session.close()

    def work(self, task: Task | EncodeTask) -> Iterator[Outcome]:
        """Do one task; yields the outcomes that are ready, of this task or of earlier ones."""
        if isinstance(task, EncodeTask):
            yield self._encode(task)
            return
        if self._folder.is_done(task.id):
            return  # another runner's work on a disk without locks
        failed = self._render(task)
        if failed is not None:
            yield failed
        while self._saving and (len(self._saving) >= QUEUE or self._saving[0].done()):
            yield self._saving.popleft().result()

    def drain(self) -> Iterator[Outcome]:
        """Wait for everything that is being saved. Raises, after that, what kept an image from being saved."""
        stopped = None
        while self._saving:
            try:
                outcome = self._saving.popleft().result()
            except StopRun as error:
                stopped = stopped or error
            else:
                yield outcome
        if stopped is not None:
            raise stopped

    def _encode(self, task: EncodeTask) -> Outcome:
        data, cost = self._session_for(task.model, task.dtype).encode(task)
        try:
            self._embeds.write(task.key, data)
        except OSError as error:
            raise CannotGoOn(
                f"prompt embeddings cannot be kept in {self._embeds.folder}: {error.strerror or error}. "
                "Make room there, or set RUN_BATCH_CACHE to another folder"
            ) from None
        self._encoded[task.key] = cost
        return Outcome(key=task.key, status="done", seconds=cost.seconds)

    def _render(self, task: Task) -> Outcome | None:
        attempt = _Attempt(task, self._attempts.get(task.id, 0) + 1, _now())
        session = self._session_for(task.model, task.dtype)
        try:
            if task.id in self._spec.latents:
                rendered = self._redecode(session, task)
            else:
                rendered = self._from_embeds(session, task)
        except RenderError as error:
            return self._failed(attempt, error.info, error.measurement)
        self._saving.append(self._saver.submit(self._save, attempt, rendered))
        return None

    def _from_embeds(self, session: Session, task: Task) -> Rendered:
        texts = encode_tasks(task, self._spec.models[task.model].family, self._spec.device)
        embeds = [data for text in texts if (data := self._embeds.read(text.key)) is not None]
        if len(embeds) < len(texts):
            info = ErrorInfo(kind="MissingEmbeds", message="the prompt embeddings are gone", stage="encode")
            raise RenderError(info, Measurement())
        # A text's cost stands on the first image that uses it; from the cache it costs nothing.
        encoded = together([self._encoded.pop(text.key) for text in texts if text.key in self._encoded])

        def on_step(step: int) -> None:
            self._control.on_step(task.name, step, task.steps)
            if self._control.stop.is_set():
                raise Interrupted("interrupted")

        return session.render(
            task, embeds, on_step, encoded if texts else None, keep_latents=self._spec.keep_latents
        )

    def _redecode(self, session: Session, task: Task) -> Rendered:
        path = Path(self._spec.latents[task.id])
        try:
            latents = path.read_bytes()
        except OSError as error:
            info = ErrorInfo(kind="MissingLatents", message=f"the latents are gone: {error}", stage="decode")
            raise RenderError(info, Measurement()) from None
        return session.redecode(task, latents, keep_latents=self._spec.keep_latents)

    def _save(self, attempt: _Attempt, rendered: Rendered) -> Outcome:
        start, measurement = perf_counter(), rendered.measurement
        try:
            if rendered.latents is not None:
                self._folder.save_latents(attempt.task, rendered.latents)
            file = self._folder.save_image(attempt.task, rendered.pixels)
            receipt = Receipt(
                task=attempt.task,
                file=file,
                measurement=replace(measurement, save_s=perf_counter() - start),
                machine=self._machine,
                attempts=attempt.number,
                started_at=attempt.started_at,
            )
            self._folder.commit(receipt)
        except (OSError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and disk.is_full(error):
                self._folder.discard(attempt.task)
                raise DiskFull(
                    f"the disk of {self._folder.root} is full: {attempt.task.name} could not be saved, "
                    "and will be rendered again"
                ) from None
            info = ErrorInfo(kind=type(error).__name__, message=str(error), stage="save")
            return self._failed(attempt, info, measurement)
        return Outcome(key=attempt.task.id, status="done", receipt=receipt, seconds=perf_counter() - start)

    def _failed(self, attempt: _Attempt, error: ErrorInfo, measurement: Measurement) -> Outcome:
        failure = Failure(
            task=attempt.task,
            error=error,
            measurement=measurement,
            machine=self._machine,
            attempts=attempt.number,
            started_at=attempt.started_at,
        )
        self._attempts[attempt.task.id] = attempt.number
        with contextlib.suppress(OSError):  # on a full disk the outcome alone must carry it
            self._folder.fail(failure)
        return Outcome(key=attempt.task.id, status="failed", failure=failure, error=error)

    def _session_for(self, model: str, dtype: str) -> Session:
        key = (model, dtype)
        if self._session is None or self._session_key != key:
            if self._session is not None:
                self._session.close()
            self._session = Session(self._spec.models[model], dtype, self._spec.device)
            self._session_key = key
        return self._session


def _check_latents(spec: RunSpec) -> None:
    """Raise :class:`UserError` where latents are asked of a pipeline that is called whole."""
    whole = [name for name, source in spec.models.items() if not FAMILIES[source.family].staged]
    if whole and (spec.keep_latents or spec.latents):
        raise UserError(
            f"{whole[0]} has no latents to keep: its pipeline is called whole; leave out keep_latents for it"
        )


def together(parts: list[StagePeak]) -> StagePeak:
    """Stages that ran one after the other: seconds add up, of each peak the largest counts."""

    def largest(values: list[int | None]) -> int | None:
        return max((value for value in values if value is not None), default=None)

    return StagePeak(
        seconds=sum(part.seconds for part in parts),
        allocated=largest([part.allocated for part in parts]),
        reserved=largest([part.reserved for part in parts]),
        device=largest([part.device for part in parts]),
        rss=largest([part.rss for part in parts]),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
