"""What the blocks of a contact sheet are called: by what their settings differ in, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batch.records.tasks import Task

ALONE = ("model", "size")
"""What the only block is called by; above several the sheet's own heading says what they share."""

_SAID: dict[str, Callable[[Task], str]] = {
    "model": lambda task: task.model,
    "size": lambda task: task.size,
    "steps": lambda task: f"steps {task.steps}",
    "guidance": lambda task: f"guidance {task.guidance:g}",
    "scheduler": lambda task: f"scheduler {task.scheduler or 'default'}",
    "memory": lambda task: f"memory {task.memory}",
    "dtype": lambda task: f"dtype {task.dtype}",
    "vae": lambda task: f"vae {task.vae or 'default'}",
    "negative_prompt": lambda task: f"negative prompt {task.negative_prompt or 'none'}",
}

_SHOWN = (
    "model", "size", "steps", "guidance", "scheduler", "memory", "dtype", "vae", "loras", "extra",
    "negative_prompt",
)  # fmt: skip
"""Fields of a task that may tell blocks apart, in the order of a title."""


def varying(tasks: Sequence[Task]) -> list[str]:
    """The fields that tell blocks apart: those with several values, where 2 and 2.0 are two."""
    first = {name: getattr(tasks[0], name) for name in _SHOWN} if tasks else {}
    differing = set()
    for task in tasks:
        for name, other in first.items():
            value = getattr(task, name)
            if value is not other and (value != other or repr(value) != repr(other)):
                differing.add(name)
    if len({(task.prompt, task.negative_prompt) for task in tasks}) == len({task.prompt for task in tasks}):
        differing.discard("negative_prompt")  # it goes with the prompt, as from a style: a row says it
    return [name for name in _SHOWN if name in differing]


def varying_extras(tasks: Sequence[Task]) -> list[str]:
    """The extra arguments that have several values, "not given" being one."""
    values: dict[str, set[str]] = {}
    found = [dict(extra) for extra in {repr(task.extra): task.extra for task in tasks}.values()]
    for extra in found:
        for name, value in extra.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, some in values.items() if len(some) > 1 or any(name not in extra for extra in found)]


def title(task: Task, names: Sequence[str], extras: Sequence[str] = (), loras: str = "") -> str:
    """What a task's values of some fields are; ``loras`` is what its LoRAs are called."""
    parts: list[str] = []
    for name in names:
        if name == "loras":
            parts.append(f"lora {loras}")
        elif name == "extra":
            given = dict(task.extra)
            parts += [f"{key} {given[key]}" if key in given else f"without {key}" for key in extras]
        else:
            parts.append(_SAID[name](task))
    return " · ".join(parts)


def shared(tasks: Sequence[Task]) -> str:
    """What all pictures have in common and nothing else on the sheet says."""
    if not tasks:
        return ""
    apart = varying(tasks)
    names = [*(ALONE if apart else ()), "steps", "guidance", "scheduler", "memory"]
    return title(tasks[0], [name for name in names if name not in apart])
