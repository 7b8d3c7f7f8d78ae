"""File names from a template: safe on every file system, for any prompt, and never the same twice."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from batch.records import Task

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


def _fields(task: Task) -> dict[str, str]:
    loras = "+".join(f"{lora.path.replace(chr(92), '/').rsplit('/', 1)[-1]}" for lora in task.loras)
    return {
        "prompt": slug(task.prompt, PROMPT_BYTES),
        "negative_prompt": slug(task.negative_prompt, PROMPT_BYTES),
        "seed": str(task.seed),
        "size": task.size,
        "width": str(task.width),
        "height": str(task.height),
        "steps": str(task.steps),
        "guidance": f"{task.guidance:g}",
        "scheduler": slug(str(task.scheduler or "default")),
        "memory": slug(task.memory),
        "dtype": task.dtype,
        "lora": slug(loras) or "none",
        "model": slug(task.model),
        "id": task.id,
    }


def base_name(task: Task, template: str) -> str:
    """The template filled in, without id and suffix; ``/`` in the template makes folders."""
    values = _fields(task)
    filled = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)
    parts = [_safe(part) for part in filled.split("/")]
    return "/".join(part for part in parts if part) or "image"


def _safe(part: str) -> str:
    part = slug(part)
    return f"{part}-" if _RESERVED.fullmatch(part) else part


def assign(tasks: Iterable[Task], template: str) -> list[Task]:
    """Tasks with their file names ``<name>-<id8>``, unique even where case is folded."""
    named = [replace(task, name=f"{base_name(task, template)}-{task.id[:8]}") for task in tasks]
    seen = Counter(task.name.casefold() for task in named)
    return [
        replace(task, name=f"{task.name[:-8]}{task.id}") if seen[task.name.casefold()] > 1 else task
        for task in named
    ]
