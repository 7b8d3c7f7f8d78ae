"""The answers of the process that predicts memory, kept in the user's cache folder.

A cache: it may be deleted at any time, and what is damaged counts as not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from typing_extensions import TypedDict

from batch.base import atomic
from batch.memory.footprint import Component, Work
from batch.store import files
from batch.store.embeds import default_folder

PATIENCE_S = 300
"""After which a plan does without the answers that are not there yet."""

_ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",
    "CUDA_VISIBLE_DEVICES": "-1",  # a card is not needed, and its context takes half a GiB
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}


class Question(TypedDict):
    """What one stage is asked for, as it is told to the process."""

    key: str
    """A hash of all that decides the answer."""
    stage: str
    source: dict[str, object]
    """A :class:`~batch.records.ModelSource`."""
    task: dict[str, object]
    """A :class:`~batch.records.Task`."""
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
    """The fields of :class:`~batch.memory.footprint.Work`."""
    components: dict[str, dict[str, int]]
    """By name the fields of :class:`~batch.memory.footprint.Component`; decoding has none."""


def answers(questions: Iterable[Question], tell: Callable[[int], None]) -> dict[str, Answer]:
    """The answer to every question by its key, from the cache or computed now."""
    asked = {question["key"]: question for question in questions}
    known: dict[str, Answer] = {key: kept for key in asked if (kept := _kept(key)) is not None}
    missing = [question for key, question in asked.items() if key not in known]
    if not missing:
        return known
    tell(len(missing))
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


def _computed(questions: list[Question]) -> Iterator[Answer]:
    """The answers of a process, each when it is there; one without key says why the others are missing."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
    late = threading.Event()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        child = subprocess.Popen(
            # -P: the folder it is started in must not be searched for modules.
            [sys.executable, "-P", "-m", "batch.render.foresight"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, env=environment, encoding="utf-8",
        )  # fmt: skip
        timer = threading.Timer(PATIENCE_S, _end, (child, late))
        timer.daemon = True
        timer.start()
        try:
            assert child.stdin is not None and child.stdout is not None
            with suppress(OSError):  # it is dead, which its silence tells
                child.stdin.write(json.dumps(questions) + "\n")
                child.stdin.flush()
            for line in child.stdout:
                with suppress(ValueError):
                    yield json.loads(line)
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                with suppress(OSError):
                    stream.close()  # type: ignore[union-attr]  # both are pipes
        words.seek(0)
        last = (words.read().strip().splitlines() or [f"exit code {code}"])[-1]
    yield {"why": f"it took longer than {PATIENCE_S} s" if late.is_set() else f"its process failed: {last}"}


def _end(child: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    child.kill()


def _path(key: str) -> Path:
    return default_folder() / "foresight" / f"{key}.json"


def _kept(key: str) -> Answer | None:
    """What was answered before; None where it was not, or is damaged."""
    try:
        data = files.read(Answer, _path(key))
        if "why" not in data:
            Work(**data["work"])
            all(Component(**item) for item in data.get("components", {}).values())
    except (*files.UNREADABLE, TypeError, KeyError):
        return None
    return data


def _keep(key: str, answer: Answer) -> None:
    with suppress(OSError):  # a cache
        atomic.write(_path(key), json.dumps(answer).encode(), durable=False)
