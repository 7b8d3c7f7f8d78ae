"""What planning asks the process that predicts memory, and what that answers: plain JSON.

:mod:`batch.store.predictions` asks and keeps, :mod:`batch.render.foresight` answers.
"""

from __future__ import annotations

from typing import final

from typing_extensions import TypedDict


@final
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


@final
class TextsQuestion(TypedDict):
    """How much a model reads of texts."""

    key: str
    source: dict[str, object]
    task: dict[str, object]
    """One that has such texts."""
    negative: bool
    """They are negative prompts."""
    texts: list[str]


class TextReading(TypedDict):
    """The fields of :class:`~batch.records.receipts.TextTokens`."""

    tokens: int
    read: int
    lost: str


class Answer(TypedDict, total=False):
    """What a stage takes, or ``why`` that is not known."""

    key: str
    """Of its question; only the process says it."""
    passing: bool
    """Another time the answer may be another: it is not kept, and only the process says it."""
    why: str
    work: dict[str, int]
    """The fields of :class:`~batch.memory.footprint.StageWork`."""
    cut: dict[str, TextReading]
    """Of texts, by the number of each that is not read to the end."""
    components: dict[str, dict[str, int]]
    """By name the fields of :class:`~batch.memory.footprint.Component`; decoding has none."""
