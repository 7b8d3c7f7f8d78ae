"""Images and receipts written behind the rendering of the next image."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from batch.base import disk
from batch.base.errors import DiskFull, StopRun, in_words
from batch.records.events import Beat, Event, Happening, Listener
from batch.records.kinds import HappeningKind, Stage, Status
from batch.records.receipts import ErrorInfo, Failure, FileRef, Machine, Measurement, Outcome, Receipt
from batch.records.spec import RunSpec
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.render.way import Rendered
    from batch.store.folder import RunFolder

SAVERS = 2
"""Threads that save. Encoders let go of the interpreter; a slow one, or a slow disk, does not hold up all."""

QUEUE = SAVERS + 1
"""Images rendered and not yet saved: more would only hold memory (50 MB each at 5376x3072)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at an image: the how manieth, and when it began."""

    task: Task
    number: int
    started_at: str


class Saver:
    """Saves what is rendered, and keeps count of the attempts at each image."""

    def __init__(self, folder: RunFolder, spec: RunSpec, machine: Machine, listener: Listener) -> None:
        self._folder, self._spec = folder, spec
        self._machine = machine
        self._listener = listener
        self._attempts = {key: failure.attempts for key, failure in folder.failures().items()}
        self._threads = ThreadPoolExecutor(SAVERS, thread_name_prefix="saver")
        self._saving: deque[Future[Outcome]] = deque()
        self._told: deque[Happening] = deque()
        """What came up in the threads: the listener is told by one of them alone."""

    def attempt(self, task: Task, started_at: str) -> Attempt:
        """The next one at an image."""
        return Attempt(task, self._attempts.get(task.id, 0) + 1, started_at)

    def put(self, attempt: Attempt, rendered: Rendered) -> None:
        """Save an image when its turn comes."""
        self._saving.append(self._threads.submit(self._save, attempt, rendered))

    def ready(self) -> Iterator[Outcome]:
        """What is saved, and what must be saved before there is room for another image."""
        while self._saving and (len(self._saving) >= QUEUE or self._saving[0].done()):
            yield self._next()

    def saved(self) -> Iterator[Outcome]:
        """What is saved, while another image is at work. What kept one from being saved is raised later."""
        while self._saving and self._saving[0].done() and self._saving[0].exception() is None:
            yield self._taken()

    def drain(self) -> Iterator[Outcome]:
        """Wait for everything that is being saved. Raises, after that, what kept an image from being saved."""
        stopped = None
        while self._saving:
            try:
                outcome = self._next()
            except StopRun as error:
                stopped = stopped or error
            else:
                yield outcome
        if stopped is not None:
            raise stopped

    def _next(self) -> Outcome:
        self._listener.on(Beat("", Stage.SAVE))
        return self._taken()

    def _taken(self) -> Outcome:
        try:
            return self._saving.popleft().result()
        finally:
            while self._told:
                self._listener.on(self._told.popleft())

    def close(self) -> None:
        """Finish what is being saved."""
        self._threads.shutdown(wait=True)

    def _save(self, attempt: Attempt, rendered: Rendered) -> Outcome:
        start, measurement = perf_counter(), rendered.measurement
        file = None
        try:
            if rendered.latents is not None:
                self._folder.save_latents(attempt.task, rendered.latents)
            # An image's metadata says only what became of it that its task does not say.
            notes = {"memory_used": rendered.memory_used, "repaired": rendered.repaired}
            told = {name: text for name, text in notes.items() if text}
            if (names := self._folder.make_way(attempt.task, self._spec.moved)) is not None:
                self._told.append(stepped_aside(attempt.task, *names))
            file = self._folder.save_image(attempt.task, rendered.pixels, told, self._spec.metadata)
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
                texts=rendered.texts,
                allowed=self._spec.models[attempt.task.model].allowed,
            )
            self._folder.commit(receipt)
        except (OSError, ValueError, MemoryError) as error:
            info = unsaved(self._folder, self._spec, attempt.task, file, error)
            return self.failed(attempt, info, measurement)
        return Outcome(key=attempt.task.id, status=Status.DONE, receipt=receipt, seconds=perf_counter() - start)

    def failed(self, attempt: Attempt, error: ErrorInfo, measurement: Measurement, *, batch: int = 1) -> Outcome:
        """Write down why an image is not there; ``batch`` images failed in one call."""
        failure = Failure(
            task=attempt.task,
            error=error,
            measurement=measurement,
            machine=self._machine,
            attempts=attempt.number,
            started_at=attempt.started_at,
            batch=batch,
        )
        self._attempts[attempt.task.id] = attempt.number
        self._folder.fail(failure)
        return Outcome(key=attempt.task.id, status=Status.FAILED, failure=failure, error=error)


class Beside:
    """Passes on what the render thread tells, and before each sign of life the images saved since the last one.

    So an image is told while the next one is rendered, a step or a part of a picture late at most; a model that is
    loaded shows none on the way.
    """

    def __init__(self, listener: Listener, saver: Saver) -> None:
        self._listener, self._saver = listener, saver

    def on(self, event: Event) -> None:
        """See :class:`~batch.records.events.Listener`."""
        if isinstance(event, Beat):
            for outcome in self._saver.saved():
                self._listener.on(outcome)
        self._listener.on(event)


def unsaved(folder: RunFolder, spec: RunSpec, task: Task, file: FileRef | None, error: BaseException) -> ErrorInfo:
    """Why an image could not be saved, of which ``file`` may be written.

    Raises :class:`DiskFull`, which is nothing of the image's, and :class:`FolderLost`.
    """
    folder.still_held()  # whoever took the folder has removed what was being written
    if disk.is_full(error):
        if task.id not in spec.redo:
            folder.discard(task, file)
        raise DiskFull(
            f"the disk of {folder.root} is full: {task.name} could not be saved, and will be rendered again"
        ) from None
    return ErrorInfo(kind=type(error).__name__, message=in_words(error), stage=Stage.SAVE)


def stepped_aside(task: Task, name: str, aside: str) -> Happening:
    """Tells that another picture has made way for a task's; both of its names."""
    text = f"{name} stepped aside as {aside}: it was another picture in the place of {task.name}"
    return Happening(kind=HappeningKind.STEPPED_ASIDE, text=text, task=task.id, data={"from": name, "to": aside})
