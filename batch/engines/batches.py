"""Which tasks are rendered in one call of the model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from batch.plan import batching
from batch.records import EncodeTask, Numerics, RunSpec, Task

_OWN = frozenset({"id", "picture_id", "prompt", "negative_prompt", "seed", "style", "name", "source"})
"""What tasks of one call may differ in."""

_SHARED = tuple(name for name in Task.__slots__ if name not in _OWN)


def alike(first: Task | EncodeTask, rest: Iterable[Task | EncodeTask], spec: RunSpec) -> list[Task]:
    """The tasks at the head of ``rest`` that go into one call with ``first``, as many as the run allows."""
    if not isinstance(first, Task) or spec.latents:
        return []
    most = spec.numerics.get(batching.key(first), Numerics()).batch
    setting = _setting(first)
    found: list[Task] = []
    for task in islice(rest, most - 1):
        if not isinstance(task, Task) or _setting(task) != setting:
            break
        found.append(task)
    return found


def _setting(task: Task) -> tuple[object, ...]:
    return tuple(getattr(task, name) for name in _SHARED)
