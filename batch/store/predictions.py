"""The answers of the process that predicts memory, kept in the user's cache folder.

A cache: it may be deleted at any time, and what is damaged counts as not there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from batch.base import atomic
from batch.base.cache import default_folder
from batch.base.processes import ChildProcess
from batch.memory.footprint import Component, StageWork
from batch.memory.questions import Answer
from batch.records.receipts import TextTokens
from batch.store import files

if TYPE_CHECKING:
    from batch.memory.questions import Question, TextsQuestion

PATIENCE_S = 300
"""After which a plan does without the answers that are not there yet."""


def answers(
    questions: Iterable[Question | TextsQuestion],
    tell: Callable[[list[Question | TextsQuestion]], None] = lambda _: None,
) -> dict[str, Answer]:
    """The answer to every question by its key, from the cache or computed now by one process.

    ``tell`` is told which have to be computed.
    """
    asked = {question["key"]: question for question in questions}
    known: dict[str, Answer] = {key: kept for key in asked if (kept := _kept(key)) is not None}
    missing = [question for key, question in asked.items() if key not in known]
    if not missing:
        return known
    tell(missing)
    ended = "its process gave no answer"
    for said in _computed(missing):
        if "key" not in said:
            ended = said["why"]
            continue
        key, passing = said.pop("key"), said.pop("passing", False)
        known[key] = said
        if not passing:
            _keep(key, said)
    return {key: known.get(key, {"why": ended}) for key in asked}


def _computed(questions: list[Question | TextsQuestion]) -> Iterator[Answer]:
    """The answers of a process, each when it is there; one without key says why the others are missing."""
    variables = {
        "CUDA_VISIBLE_DEVICES": "-1",  # a card is not needed, and its context takes half a GiB
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    until = time.monotonic() + PATIENCE_S
    with ChildProcess("batch.render.predictor", questions, variables) as child:
        try:
            while (said := child.answer(until - time.monotonic())) is not None:
                yield cast(Answer, said)
        except TimeoutError:
            yield {"why": f"it took longer than {PATIENCE_S} s"}
            return
        code = child.code()
        yield {"why": f"its process failed: {child.last_words() or f'exit code {code}'}"}


def _path(key: str) -> Path:
    return default_folder() / "foresight" / f"{key}.json"


def _kept(key: str) -> Answer | None:
    """What was answered before; None where it was not, or is damaged."""
    try:
        data = files.read(Answer, _path(key))
        if "work" in data:
            StageWork(**data["work"])
            all(Component(**item) for item in data.get("components", {}).values())
        elif "why" not in data:
            all(TextTokens(**item) for item in data["cut"].values())
    except (*files.UNREADABLE, TypeError, KeyError):
        return None
    return data


def _keep(key: str, answer: Answer) -> None:
    with suppress(OSError):  # a cache
        atomic.write(_path(key), json.dumps(answer).encode(), durable=False)
