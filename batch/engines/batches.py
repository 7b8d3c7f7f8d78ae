"""Which tasks are rendered in one call of the model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from batch.plan.alike import call_key, size_name
from batch.records.spec import Numerics, RunSpec
from batch.records.tasks import EncodeTask, Task


def alike(first: Task | EncodeTask, rest: Iterable[Task | EncodeTask], spec: RunSpec) -> list[Task]:
    """The tasks at the head of ``rest`` that go into one call with ``first``, as many as the run allows."""
    if not isinstance(first, Task) or spec.latents:
        return []
    most = spec.numerics.get(size_name(first), Numerics()).batch
    wanted = call_key(first)
    found: list[Task] = []
    for task in islice(rest, most - 1):
        if not isinstance(task, Task) or call_key(task) != wanted:
            break
        found.append(task)
    return found
