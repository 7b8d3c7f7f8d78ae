"""Session and store together: one task done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from batch.base import disk
from batch.base.errors import CannotGoOn, DiskFull, Interrupted, StoppedEarly, StopRun, UserError
from batch.catalogue.families import FAMILIES
from batch.memory import ladder
from batch.plan import batching, encode_tasks
from batch.records import (
    Beat,
    Call,
    EncodeTask,
    ErrorInfo,
    ErrorKind,
    Failure,
    Happening,
    HappeningKind,
    Listener,
    Machine,
    Measurement,
    Numerics,
    Outcome,
    Receipt,
    RunSpec,
    Stage,
    StagePeak,
    Status,
    Task,
)
from batch.render.backend import Backend, Heartbeat, Session
from batch.render.failures import StageFailed
from batch.render.image import Job, Rendered, Renderer, RenderError
from batch.store import measured
from batch.store.embeds import EmbedCache
from batch.store.folder import RunFolder
from batch.store.rungs import RungFile

SAVERS = 2
"""Threads that save. Encoders let go of the interpreter; a slow one, or a slow disk, does not hold up all."""

QUEUE = SAVERS + 1
"""Images rendered and not yet saved: more would only hold memory (50 MB each at 5376x3072)."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    task: Task
    number: int
    started_at: str


class Worker:
    """Keeps the session a task needs warm, and saves behind the next image."""

    def __init__(self, spec: RunSpec, backend: Backend, listener: Listener, stop: Event) -> None:
        _check_latents(spec)
        self._spec = spec
        self._listener, self._stop = listener, stop
        self._backend = backend
        self._folder = RunFolder(Path(spec.root), spec.runner)
        self._embeds = EmbedCache(Path(spec.cache))
        self._machine = backend.describe(spec.device)
        if spec.vram_limit is not None:
            self._machine = replace(self._machine, vram_limit=spec.vram_limit)
            said = backend.cap(spec.device, spec.vram_limit)
            listener.on(Happening(kind=HappeningKind.VRAM_LIMIT, text=said))
        if spec.measure:
            self._claim()
        self._rungs = RungFile(self._folder.state, _card(self._machine), spec.runner)
        self._attempts = {key: failure.attempts for key, failure in self._folder.failures().items()}
        self._encoded: dict[str, StagePeak] = {}
        self._unencoded: dict[str, StageFailed] = {}
        self._warm = False
        self._session: Session[Any] | None = None
        self._session_key: tuple[str, str] | None = None
        self._saver = ThreadPoolExecutor(SAVERS, thread_name_prefix="saver")
        self._saving: deque[Future[Outcome]] = deque()
        self._since, self._accounted = perf_counter(), 0.0

    def _claim(self) -> None:
        scan = self._folder.scan()
        empty = not scan.receipts and not scan.failures
        measured.claim(self._folder.state, self._machine, self._spec.runner, empty=empty)

    def close(self) -> None:
        """Finish what is being saved and give the device back."""
        self._saver.shutdown(wait=True)
        if self._session is not None:
            self._session.close()

    def work(
        self, task: Task | EncodeTask, more: Sequence[Task] = (), *, step_down: str = ""
    ) -> Iterator[Outcome]:
        """Do one task; yields the outcomes that are ready, of this task or of earlier ones.

        ``more`` holds images for the same call of the model. ``step_down`` names a stage that took the last
        process with it for want of memory.
        """
        if isinstance(task, EncodeTask):
            yield self._encode(task)
            return
        missing = []
        for image in (task, *more):
            receipt = self._folder.receipt(image.id) if image.id not in self._spec.redo else None
            if receipt is None:
                missing.append(image)
            else:  # another runner's work on a disk without locks
                yield Outcome(key=image.id, status=Status.DONE, receipt=receipt)
        if missing:
            yield from self._render(missing, step_down)

    def _ready(self) -> Iterator[Outcome]:
        """What is saved, and what must be saved before there is room for another image."""
        while self._saving and (len(self._saving) >= QUEUE or self._saving[0].done()):
            yield self._saved()

    def drain(self) -> Iterator[Outcome]:
        """Wait for everything that is being saved. Raises, after that, what kept an image from being saved."""
        stopped = None
        while self._saving:
            try:
                outcome = self._saved()
            except StopRun as error:
                stopped = stopped or error
            else:
                yield outcome
        if stopped is not None:
            raise stopped

    def _saved(self) -> Outcome:
        self._listener.on(Beat("", Stage.SAVE))
        return self._saving.popleft().result()

    def _encode(self, task: EncodeTask) -> Outcome:
        if self._spec.measure:
            return self._measure_encoding(task)
        taken = self._rung_of_texts(task)
        kept = _kept_as(task.key, taken)
        if taken and self._embeds.has(kept):
            return Outcome(key=task.key, status=Status.DONE)
        asked = replace(task, memory_steps=(Call(name=taken),)) if taken else task
        self._beat(task.text, Stage.LOAD)
        session = self._session_for(task.model, task.dtype)
        try:
            made = session.encode(asked, self._beats(task.text))
        except StageFailed as error:
            rung = ladder.next_text_rung(asked.memory_steps, self._spec.device) if self._spec.fallback else None
            if rung is None:
                raise CannotGoOn(f"out of memory while encoding texts: {error.info.message}") from None
        else:
            self._keep(kept, made.value)
            self._encoded[task.key] = made.peak
            self._accounted += made.peak.seconds
            return Outcome(key=task.key, status=Status.DONE, seconds=made.peak.seconds)
        self._rungs.take_for_texts(task, rung)
        text = f"out of memory while encoding texts: {rung} from now on for those of {task.model}"
        data = {"stage": "encode", "rung": rung}
        self._listener.on(Happening(kind=HappeningKind.OUT_OF_MEMORY, text=text, data=data))
        return self._encode(task)

    def _rung_of_texts(self, task: EncodeTask | Task) -> str:
        return self._rungs.of_texts(task) if self._spec.fallback else ""

    def _measure_encoding(self, task: EncodeTask) -> Outcome:
        """What encoding a text takes on a warm card; that it does not fit is the result of its images."""
        self._beat(task.text, Stage.LOAD)
        session = self._session_for(task.model, task.dtype)

        try:
            made = session.encode(task, self._beats(task.text))
            if not self._warm:  # the first text of a process pays for libraries that are loaded and kernels tried
                made, self._warm = session.encode(task, self._beats(task.text)), True
        except StageFailed as error:
            self._unencoded[task.key] = error
            return Outcome(key=task.key, status=Status.FAILED, error=error.info)
        self._keep(task.key, made.value)
        self._encoded[task.key] = made.peak
        self._accounted += made.peak.seconds
        return Outcome(key=task.key, status=Status.DONE, seconds=made.peak.seconds)

    def _keep(self, key: str, data: bytes) -> None:
        try:
            self._embeds.write(key, data)
        except OSError as error:
            kind = StoppedEarly if disk.is_full(error) else CannotGoOn
            raise kind(
                f"prompt embeddings cannot be kept in {self._embeds.folder}: {error.strerror or error}. "
                "Make room there, or set RUN_BATCH_CACHE to another folder"
            ) from None

    def _beat(self, name: str, stage: Stage, part: int = 0, parts: int = 0) -> None:
        self._listener.on(Beat(name, stage, part, parts))
        if self._stop.is_set():
            raise Interrupted("interrupted")

    def _render(self, tasks: Sequence[Task], step_down: str) -> Iterator[Outcome]:
        now, call_counted = _now(), False
        for task, made in self._made(tasks, step_down):
            attempt = _Attempt(task, self._attempts.get(task.id, 0) + 1, now)
            shares = 1
            if isinstance(made, Rendered) and made.batch > 1:
                # The call that they share lies before the first of them.
                shares, call_counted = (0 if call_counted else made.batch), True
            measurement = self._with_rest(made.measurement, shares)
            if isinstance(made, RenderError):
                # Elsewhere each image of a batch that failed has been tried alone.
                images = len(tasks) if self._spec.measure else 1
                yield self._failed(attempt, made.info, measurement, images)
            else:
                rendered = replace(made, measurement=measurement)
                self._saving.append(self._saver.submit(self._save, attempt, rendered))
            yield from self._ready()

    def _with_rest(self, cost: Measurement, shares: int) -> Measurement:
        """With the time since the image before that is in no stage; its denoising counts ``shares`` times."""
        now = perf_counter()
        stages = sum(stage.seconds for stage in (cost.decode, cost.whole) if stage is not None)
        denoised = 0.0 if cost.denoise is None else cost.denoise.seconds * shares
        spent = (cost.load_s or 0.0) + denoised + stages + self._accounted
        rest = max(0.0, now - self._since - spent)
        self._since, self._accounted = now, 0.0
        return replace(cost, between_s=rest)

    def _made(self, tasks: Sequence[Task], step_down: str) -> Iterator[tuple[Task, Rendered | RenderError]]:
        """Each image, rendered, or why it is not; of a batch one after the other."""
        renderer = self._renderer(tasks[0])
        jobs: list[Job] = []
        for task in tasks:
            try:
                if task.id in self._spec.latents:
                    yield task, self._redecode(renderer, task)
                else:
                    jobs.append(self._job(task))
            except RenderError as error:
                yield task, error
        if jobs:
            name = jobs[0].task.name + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")
            made = renderer.together(jobs, self._beats(name), step_down=step_down)
            yield from ((job.task, image) for job, image in made)

    def _renderer(self, task: Task) -> Renderer:
        return Renderer(
            session=self._session_for(task.model, task.dtype),
            device=self._spec.device,
            rungs=self._rungs,
            fallback=self._spec.fallback,
            tell=self._listener.on,
            keep_latents=self._spec.keep_latents,
            strict=self._spec.measure,
            compiled=self._spec.numerics.get(batching.key(task), Numerics()).compile,
        )

    def _job(self, task: Task) -> Job:
        texts = encode_tasks(task, self._spec.models[task.model].family, self._spec.device)
        taken = self._rung_of_texts(task)
        kept = [self._embeds.read(_kept_as(text.key, taken)) for text in texts]
        # One that fitted before the others did not lies where it lay.
        embeds = [data or self._embeds.read(text.key) for data, text in zip(kept, texts, strict=True)]
        if missed := [self._unencoded[text.key] for text in texts if text.key in self._unencoded]:
            raise RenderError(missed[0].info, Measurement(encode=missed[0].peak))
        if None in embeds:
            info = ErrorInfo(
                kind=ErrorKind.MISSING_EMBEDS, message="there are no embeddings of its texts", stage="encode"
            )
            raise RenderError(info, Measurement())
        # A text's cost stands on the first image that uses it; from the cache it costs nothing. Where settings are
        # measured it stands on every image: each is what one image takes.
        take = self._encoded.__getitem__ if self._spec.measure else self._encoded.pop
        encoded = together([take(text.key) for text in texts if text.key in self._encoded])
        return Job(
            task=task,
            embeds=[data for data in embeds if data is not None],
            encoded=encoded if texts else None,
            texts_by=taken if any(kept) else "",
        )

    def _redecode(self, renderer: Renderer, task: Task) -> Rendered:
        path = Path(self._spec.latents[task.id])
        try:
            latents = path.read_bytes()
        except OSError as error:
            info = ErrorInfo(kind="MissingLatents", message=f"the latents are gone: {error}", stage="decode")
            raise RenderError(info, Measurement()) from None
        return renderer.redecode(task, latents, self._beats(task.name))

    def _beats(self, name: str) -> Heartbeat:
        return lambda stage, part, parts: self._beat(name, stage, part, parts)

    def _save(self, attempt: _Attempt, rendered: Rendered) -> Outcome:
        start, measurement = perf_counter(), rendered.measurement
        try:
            if rendered.latents is not None:
                self._folder.save_latents(attempt.task, rendered.latents)
            file = self._folder.save_image(attempt.task, rendered.pixels, _notes(rendered))
            receipt = Receipt(
                task=attempt.task,
                file=file,
                measurement=replace(measurement, save_s=perf_counter() - start),
                machine=self._machine,
                attempts=attempt.number,
                started_at=attempt.started_at,
                degraded_from=rendered.degraded_from,
                memory_used=rendered.memory_used,
                repaired=rendered.repaired,
                batch=rendered.batch,
                compile=rendered.compiled,
                scheduler=rendered.scheduler,
                allowed=self._spec.models[attempt.task.model].allowed,
            )
            self._folder.commit(receipt)
        except (OSError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and disk.is_full(error):
                if attempt.task.id not in self._spec.redo:
                    self._folder.discard(attempt.task)
                raise DiskFull(
                    f"the disk of {self._folder.root} is full: {attempt.task.name} could not be saved, "
                    "and will be rendered again"
                ) from None
            info = ErrorInfo(kind=type(error).__name__, message=str(error), stage="save")
            return self._failed(attempt, info, measurement)
        return Outcome(key=attempt.task.id, status=Status.DONE, receipt=receipt, seconds=perf_counter() - start)

    def _failed(self, attempt: _Attempt, error: ErrorInfo, measurement: Measurement, batch: int = 1) -> Outcome:
        # Who else is on the card may be why an image failed.
        card = self._session.meter.card() if self._session is not None else None
        failure = Failure(
            task=attempt.task,
            error=error,
            measurement=replace(measurement, card=card),
            machine=self._machine,
            attempts=attempt.number,
            started_at=attempt.started_at,
            batch=batch,
        )
        self._attempts[attempt.task.id] = attempt.number
        self._folder.fail(failure)
        return Outcome(key=attempt.task.id, status=Status.FAILED, failure=failure, error=error)

    def _session_for(self, model: str, dtype: str) -> Session[Any]:
        key = (model, dtype)
        if self._session is None or self._session_key != key:
            if self._session is not None:
                self._session.close()
            source = self._spec.models[model]
            self._session = self._backend.open(source, dtype, self._spec.device, measure=self._spec.measure)
            self._session_key = key
        return self._session


def _kept_as(key: str, taken: str) -> str:
    """Where the cache keeps an embedding: one of the CPU, to which a rung led, has other last bits."""
    return f"{key}-cpu" if taken == "text_encoder_cpu" else key


def _card(machine: Machine) -> str:
    """What rungs hold for: a card held to a limit is another one."""
    return machine.device if machine.vram_limit is None else f"{machine.device} held to {machine.vram_limit}"


def _notes(rendered: Rendered) -> dict[str, str]:
    """What an image's metadata says beyond its task: only what became of it that the task does not say."""
    notes = {"memory_used": rendered.memory_used, "repaired": rendered.repaired}
    return {name: text for name, text in notes.items() if text}


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
