"""File names from a template: safe on every file system, for any prompt, and never the same twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import lru_cache

from batch.catalogue import pag
from batch.catalogue.single_files import SUFFIXES
from batch.manifest.naming import FIELD
from batch.plan.alike import call_key
from batch.records.tasks import Task

MAX_BYTES = 150
"""For one part of a path. File systems allow 255; encrypted ones (eCryptfs) 143 after the suffix, and
Windows 260 for the whole path, so long prompts are cut well before."""

PROMPT_BYTES = 60
"""How much of a prompt goes into a name: enough to recognise it."""

DIGITS = 5
"""Of a place in the plan: the same for a plan of ten and of ten thousand, so that names of both sort."""

_READ = 1_000
"""Letters of a text of which a name is made: to compose a hundred thousand accents takes a minute."""

_BETWEEN = re.compile(r"(?:(?![a-zA-Z0-9.+=])[\x00-\x7f])+")
_UNSAFE = re.compile(r"[^\w.+=-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def cut(text: str, limit: int) -> str:
    """The beginning of a text that fits into ``limit`` bytes of UTF-8, whole characters only."""
    return text.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")


def slug(text: str, limit: int = MAX_BYTES) -> str:
    """A text as part of a file name: letters and digits of any script stay, all else becomes ``-``."""
    # Blanks and signs become one dash first, so that of a text that begins with many the words are read.
    text = unicodedata.normalize("NFC", _BETWEEN.sub("-", text)[:_READ])
    text = re.sub(r"-{2,}", "-", _UNSAFE.sub("-", text))
    return cut(text.strip("-. "), limit).strip("-. ")


@lru_cache(maxsize=4096)
def _field_slug(text: str, letters: str = "") -> str:
    """A text as a field of a template, which may say how many letters it has at most."""
    return slug(text)[: int(letters)].strip("-. ") if letters else slug(text, PROMPT_BYTES)


def _loras(task: Task) -> str:
    # A minus alone between two words would be one dash of many.
    return slug("+".join(str(lora).replace(" -", "=-") for lora in task.loras)) or "none"


def _model(name: str) -> str:
    """A model for a file name: of a checkpoint in one file that of its file."""
    path, _, suffix = name.rpartition(".")
    return path.replace("\\", "/").rpartition("/")[2] if f".{suffix.lower()}" in SUFFIXES else name


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
    "vae": lambda task: slug(str(task.vae or "default")),
    "model": lambda task: slug(_model(task.model)),
}


_VARYING = ("prompt", "negative_prompt", "style", "seed", "index", "id")


class Namer:
    """Names of tasks that differ in prompts, style, seed, place and id only: the rest is filled in once."""

    def __init__(self, template: str, task: Task, begun: str) -> None:
        """``begun`` is when the run began, in ISO 8601."""
        self._pieces = FIELD.split(template)
        self._varying: list[tuple[int, str, str]] = []
        for place in range(1, len(self._pieces), 2):
            name, _, letters = self._pieces[place].partition(":")
            if name in _VARYING:
                self._varying.append((place, name, letters))
            else:
                text = _shared(name, task, begun)
                self._pieces[place] = _field_slug(text, letters) if letters else text

    def of(self, task_id: str, *, prompt: str, negative_prompt: str, style: str, seed: int, index: int = 0) -> str:
        """``<name>-<id8>``; a ``/`` in the template makes folders. ``index`` is the place in the plan, from 1."""
        pieces = self._pieces.copy()
        for place, name, letters in self._varying:
            if name in ("prompt", "negative_prompt"):
                pieces[place] = _field_slug(prompt if name == "prompt" else negative_prompt, letters)
            elif name == "style":
                pieces[place] = _field_slug(style, letters) or "none"
            elif name == "index":
                pieces[place] = f"{index:0{DIGITS}}"
            else:
                pieces[place] = task_id if name == "id" else str(seed)
        parts = [slug(part) for part in "".join(pieces).split("/")]
        safe = "/".join([f"{part}-" if _RESERVED.fullmatch(part) else part for part in parts if part])
        return f"{safe or 'image'}-{task_id[:8]}"


def _shared(name: str, task: Task, begun: str) -> str:
    """A field that is the same for all tasks of a setting."""
    if name in ("date", "time"):
        return slug(begun[:10] if name == "date" else begun[11:19])
    argument = name.removeprefix("extra.")
    if argument == name:
        return _FIELDS[name](task)
    # A guidance of 0 is none, and not in the task.
    return slug(str(dict(task.extra).get(argument, "0" if argument == pag.SCALE else "default")))


def assign(tasks: Iterable[Task], template: str, begun: str) -> list[Task]:
    """The tasks with their file names, unique even where case is folded; ``begun`` is that of :class:`Namer`."""
    named, namers = [], dict[Hashable, Namer]()
    for index, task in enumerate(tasks, start=1):
        key = call_key(task)
        namer = namers.get(key) or namers.setdefault(key, Namer(template, task, begun))
        name = namer.of(
            task.id,
            prompt=task.prompt,
            negative_prompt=task.negative_prompt,
            style=task.style,
            seed=task.seed,
            index=index,
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
