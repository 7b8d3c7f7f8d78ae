"""Which tasks are rendered in one call of the model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, takewhile
from typing import Any

from batch.plan import alike as keys
from batch.records import EncodeTask, Numerics, RunSpec, Task


def alike(first: Task | EncodeTask, rest: Iterable[Task | EncodeTask], spec: RunSpec) -> list[Task]:
    """The tasks at the head of ``rest`` that go into one call with ``first``, as many as the run allows."""
    if not isinstance(first, Task) or spec.latents:
        return []
    most = spec.numerics.get(keys.size_name(first), Numerics()).batch
    wanted = keys.call_key(first)

    def fits(task: Task | EncodeTask) -> bool:
        return isinstance(task, Task) and keys.call_key(task) == wanted

    found: Iterable[Any] = takewhile(fits, rest)
    return list(islice(found, most - 1))
