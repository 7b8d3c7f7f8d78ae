"""Which failures are not the last word: a run that goes on tries these images once more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from batch.records.kinds import ErrorKind, Stage

if TYPE_CHECKING:
    from batch.records.receipts import Failure
    from batch.records.tasks import Task
    from batch.store.shards import Running


def tried_again(
    failures: Collection[Failure], runs: Sequence[Running], tasks: Sequence[Task], retries: int
) -> frozenset[str]:
    """Ids of the images among them that have attempts left in a run that goes on."""
    open_ones = [item for item in failures if item.attempts < retries]
    if not open_ones or not runs:
        return frozenset()
    place = {task.id: number for number, task in enumerate(tasks)}
    return frozenset(
        item.task.id
        for item in open_ones
        for run in runs
        if _is_its(run, place[item.task.id]) and (_in_the_same_run(item) or _is_older(item, run))
    )


def _is_its(run: Running, place: int) -> bool:
    """Whether an image of that place in the plan is the run's to render."""
    return run.shard is None or place % run.shard.of == run.shard.number - 1


def _in_the_same_run(failure: Failure) -> bool:
    """Whether the run in which it failed tries it again: its worker died, or it was rendered and not written."""
    error = failure.error
    if error.kind == ErrorKind.MISSING_EMBEDS or error.stage == Stage.SAVE:
        return True
    died = not failure.machine.device  # who is dead does not say where it was
    return died and error.kind != ErrorKind.NOT_LOADED


def _is_older(failure: Failure, run: Running) -> bool:
    with suppress(ValueError, OverflowError, OSError):  # what somebody wrote there
        began = datetime.fromisoformat(run.holder["since"]).astimezone()
        return datetime.fromisoformat(failure.started_at).astimezone() < began
    return False
