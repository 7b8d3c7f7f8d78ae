"""Which tasks are rendered in one call of the model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from batch.plan.alike import call_key, size_name
from batch.records.spec import Numerics, RunSpec
from batch.records.tasks import EncodeTask, Task


def most(first: Task | EncodeTask, spec: RunSpec) -> int:
    """How many tasks go into one call with ``first`` at most, itself among them."""
    if not isinstance(first, Task) or spec.latents:
        return 1
    return spec.numerics.get(size_name(first), Numerics()).batch


def alike(first: Task | EncodeTask, rest: Iterable[Task | EncodeTask], spec: RunSpec) -> list[Task]:
    """The tasks at the head of ``rest`` that go into one call with ``first``, as many as the run allows."""
    wanted = call_key(first) if isinstance(first, Task) else None
    found: list[Task] = []
    for task in islice(rest, most(first, spec) - 1):
        if not isinstance(task, Task) or call_key(task) != wanted:
            break
        found.append(task)
    return found
