"""What planning asks the process that predicts memory, and what that answers: plain JSON.

:mod:`batch.store.predictions` asks and keeps, :mod:`batch.render.foresight` answers.
"""

from __future__ import annotations

from typing_extensions import TypedDict


class Question(TypedDict):
    """What one stage is asked for, as it is told to the process."""

    key: str
    """A hash of all that decides the answer."""
    stage: str
    source: dict[str, object]
    """A :class:`~batch.records.spec.ModelSource`."""
    task: dict[str, object]
    """A :class:`~batch.records.tasks.Task`."""
    batch: int
    """Images in one call."""


class Answer(TypedDict, total=False):
    """What a stage takes, or ``why`` that is not known."""

    key: str
    """Of its question; only the process says it."""
    passing: bool
    """Another time the answer may be another: it is not kept, and only the process says it."""
    why: str
    work: dict[str, int]
    """The fields of :class:`~batch.memory.footprint.StageWork`."""
    components: dict[str, dict[str, int]]
    """By name the fields of :class:`~batch.memory.footprint.Component`; decoding has none."""
