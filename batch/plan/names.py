"""File names from a template: safe on every file system, for any prompt, and never the same twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache

from batch.catalogue import pag
from batch.records.tasks import Task

MAX_BYTES = 150
"""For one part of a path. File systems allow 255; encrypted ones (eCryptfs) 143 after the suffix, and
Windows 260 for the whole path, so long prompts are cut well before."""

PROMPT_BYTES = 60
"""How much of a prompt goes into a name: enough to recognise it."""

_UNSAFE = re.compile(r"[^\w.+=-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def cut(text: str, limit: int) -> str:
    """The beginning of a text that fits into ``limit`` bytes of UTF-8, whole characters only."""
    return text.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")


def slug(text: str, limit: int = MAX_BYTES) -> str:
    """A text as part of a file name: letters and digits of any script stay, all else becomes ``-``."""
    text = unicodedata.normalize("NFC", text).replace("_", "-")
    text = re.sub(r"-{2,}", "-", _UNSAFE.sub("-", text))
    return cut(text.strip("-. "), limit).strip("-. ")


@lru_cache(maxsize=4096)
def _field_slug(text: str) -> str:
    return slug(text, PROMPT_BYTES)


def _loras(task: Task) -> str:
    # A minus alone between two words would be one dash of many.
    return slug("+".join(str(lora).replace(" -", "=-") for lora in task.loras)) or "none"


_FIELDS: dict[str, Callable[[Task], str]] = {
    "size": lambda task: task.size,
    "width": lambda task: str(task.width),
    "height": lambda task: str(task.height),
    "steps": lambda task: str(task.steps),
    "guidance": lambda task: f"{task.guidance:g}",
    "scheduler": lambda task: slug(str(task.scheduler or "default")),
    "memory": lambda task: slug(task.memory),
    "dtype": lambda task: slug(task.dtype),
    "lora": _loras,
    "model": lambda task: slug(task.model),
}


_VARYING = ("prompt", "negative_prompt", "style", "seed", "id")


class Namer:
    """Names of tasks that differ in prompts, style, seed and id only: the rest is filled in once."""

    def __init__(self, template: str, task: Task) -> None:
        pieces = re.split(r"\{(\w+(?:\.\w+)?)\}", template)
        extra = dict(task.extra)
        self._pieces = pieces.copy()
        for index, piece in enumerate(pieces):
            if index % 2 and piece.startswith("extra."):
                name = piece.removeprefix("extra.")
                # A guidance of 0 is none, and not in the task.
                self._pieces[index] = slug(str(extra.get(name, "0" if name == pag.SCALE else "default")))
            elif index % 2 and piece not in _VARYING:
                self._pieces[index] = _FIELDS[piece](task)
        self._varying = [(index, piece) for index, piece in enumerate(pieces) if index % 2 and piece in _VARYING]

    def of(self, task_id: str, *, prompt: str, negative_prompt: str, style: str, seed: int) -> str:
        """``<name>-<id8>``; a ``/`` in the template makes folders."""
        pieces = self._pieces.copy()
        for index, name in self._varying:
            if name in ("prompt", "negative_prompt"):
                pieces[index] = _field_slug(prompt if name == "prompt" else negative_prompt)
            elif name == "style":
                pieces[index] = _field_slug(style) or "none"
            else:
                pieces[index] = task_id if name == "id" else str(seed)
        parts = [slug(part) for part in "".join(pieces).split("/")]
        safe = "/".join([f"{part}-" if _RESERVED.fullmatch(part) else part for part in parts if part])
        return f"{safe or 'image'}-{task_id[:8]}"


def assign(tasks: Iterable[Task], template: str) -> list[Task]:
    """The tasks with their file names, unique even where case is folded."""
    named = []
    for task in tasks:
        name = Namer(template, task).of(
            task.id, prompt=task.prompt, negative_prompt=task.negative_prompt, style=task.style, seed=task.seed
        )
        named.append(replace(task, name=name))
    without_clashes(named)
    return named


def without_clashes(tasks: list[Task]) -> None:
    """Give the full id to tasks of the list whose names are the same where case is folded."""
    first: dict[int, int] = {}
    twice: set[int] = set()
    for index, task in enumerate(tasks):
        # The hash of a name instead of the name: a million of them fit into memory.
        clash = first.setdefault(hash(task.name.casefold()), index)
        if clash != index:
            twice |= {clash, index}
    for index in twice:
        task = tasks[index]
        tasks[index] = replace(task, name=f"{task.name[:-8]}{task.id}")
