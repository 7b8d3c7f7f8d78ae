"""What a worker's death is for people, and what becomes of the task that it was at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.base.text import timestamp
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.receipts import ErrorInfo, Failure, Machine, Measurement, Outcome
from batch.records.tasks import EncodeTask, Task

if TYPE_CHECKING:
    from batch.engines.death import Death
    from batch.store.folder import RunFolder


def said(death: Death, kind: HappeningKind, stage: Stage, blamed: Task | EncodeTask | None, where: str) -> str:
    """One sentence without its end: who died, ``where``, at what, and why."""
    at = ""
    if blamed is not None:
        at = f"at {blamed.name if isinstance(blamed, Task) else f'the text {blamed.text[:40]!r}'} "
    verb = "stalled" if kind == HappeningKind.STALLED else "died"
    return f"the worker{where} {verb} {at}({stage}): {death.why}"


def error_of(death: Death, kind: HappeningKind, stage: Stage) -> ErrorInfo:
    """Why a task failed whose worker died over it."""
    stalled = kind == HappeningKind.STALLED
    error_kind = ErrorKind.STALLED if stalled else ErrorKind.WORKER_DIED
    return ErrorInfo(
        kind=ErrorKind.OUT_OF_MEMORY if death.out_of_host_memory else error_kind,
        message=f"the worker {'hung' if stalled else 'died'}: {death.why}",
        stage=stage,
    )


def failed(task: Task | EncodeTask, error: ErrorInfo, attempts: int, folder: RunFolder) -> Outcome:
    """The outcome of a task that no worker can tell of; an image's failure is written down."""
    if isinstance(task, EncodeTask):
        return Outcome(key=task.key, status=Status.FAILED, error=error)
    failure = Failure(
        task=task, error=error, measurement=Measurement(), machine=Machine(),
        attempts=attempts, started_at=timestamp(),
    )  # fmt: skip
    folder.fail(failure)
    return Outcome(key=task.id, status=Status.FAILED, failure=failure, error=error)
