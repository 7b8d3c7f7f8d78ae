"""From pictures back to a manifest: what their metadata says, as YAML that renders them again.

Read are the metadata of this program and of others (:mod:`batch.manifest.foreign`). Only the first promises the
same pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import PureWindowsPath
from typing import Any

from batch.manifest import axes, formats, values
from batch.manifest.foreign import programs
from batch.manifest.foreign.a1111 import a1111, has_settings
from batch.manifest.foreign.comfy import comfy
from batch.manifest.foreign.draft import FOREIGN
from batch.manifest.loras import lora
from batch.manifest.recovered import Recovered
from batch.records.reading import any_json, to_json
from batch.records.tasks import Task, content_of, hub_name

MAX_TEXT = 2**18
"""Letters of a text that is understood: a hundred pages of prompt."""

MAX_VALUES, MAX_DEPTH = 5_000, 16
"""Of an argument of the pipeline: sigmas of as many steps as there can be, in lists of lists."""

TaskData = Mapping[str, Any]
"""A task as JSON data, as receipts and images hold it."""

_JSON = (programs.swarm, programs.fooocus, programs.draw_things, programs.novelai, programs.invoke)
"""Programs whose JSON may stand under any key; each knows its own."""


def _parameters(text: str) -> Recovered:
    """Where A1111 has its text, others have JSON; where JPEG has a comment, all of them have theirs."""
    for read in _JSON if text.lstrip().startswith("{") else ():
        with suppress(*FOREIGN):
            return read(text)
    return a1111(text)  # prompts may begin with a brace, too


_READERS: Mapping[str, Callable[[str], Recovered]] = {
    "run_batch": lambda text: _of_task(any_json(text)["task"]),  # type: ignore[index]  # anything, and caught
    "invokeai_metadata": programs.invoke,
    "sd-metadata": programs.old_invoke,
    "parameters": _parameters,
    "Comment": _parameters,  # NovelAI
    "UserComment": _parameters,  # Draw Things
    "prompt": comfy,
}


_TEXTS = {"long_prompts": "chunk", "prompt_syntax": "a1111"}
"""Of a task what is not as usual, as a manifest has it at its top."""


def from_metadata(texts: Mapping[str, str]) -> Recovered:
    """The picture behind metadata texts by key. Raises ``ValueError``, which says why none is understood."""
    why = {}
    for key, read in _readers(texts).items():
        try:
            if len(texts[key]) > MAX_TEXT:
                raise ValueError(f"it has more than {MAX_TEXT:,} letters")
            return checked(read(texts[key]))
        except ValueError as error:
            why[key] = str(error)
        except FOREIGN:
            why[key] = "it is damaged, or another program's"
    if "workflow" in texts and "prompt" not in texts:
        why["workflow"] = "it says how ComfyUI's window looked, not what was run; save with the prompt, too"
    raise ValueError("; ".join(f"{key}: {reason}" for key, reason in why.items()))


def _readers(texts: Mapping[str, str]) -> dict[str, Callable[[str], Recovered]]:
    """What reads each text. A picture that went through other hands has A1111's under a key of theirs."""
    found = {key: read for key, read in _READERS.items() if key in texts}
    left = MAX_TEXT  # for all of them together: a picture may have thousands
    for key in (key for key in texts if key not in _READERS):
        left -= len(texts[key])
        if left > 0 and has_settings(texts[key]):
            found[key] = a1111
    return found


def of_task(task: Task) -> Recovered:
    """A task as axes. Raises ``ValueError`` where no manifest can say it."""
    return from_task(json.loads(json.dumps(to_json(task))))


def from_task(task: TaskData) -> Recovered:
    """A task of this program as axes. Raises ``ValueError`` where no manifest can say it."""
    return checked(_of_task(task))


def checked(found: Recovered) -> Recovered:
    """A picture all of whose axes a manifest takes, each as one value and no more. Raises ``ValueError``."""
    for name, value in found.axes.items():
        known = axes.axis(name)
        if known is None:
            raise ValueError(f"{values.shown(name)} is no axis of a manifest")
        extra = name not in axes.AXES
        if extra:
            _check_size(value)
        try:
            read = known.read(value[0] if extra and isinstance(value, list) else value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        several = isinstance(read, list) and len(read) != 1
        if not extra and (isinstance(value, list | dict) or several or isinstance(read, values.RandomSeeds)):
            raise ValueError(f"{name}: {values.shown(value)} is not one value")
    options = {key: value for key, value in found.output.items() if key != "format"}
    formats.check_options(formats.canonical(str(found.output["format"])), options)
    return found


def _check_size(value: object) -> None:
    left, depth, level = MAX_VALUES, 0, [value]
    while level:
        left, depth = left - len(level), depth + 1
        if left < 0 or depth > MAX_DEPTH:
            raise ValueError(f"an argument of the pipeline has more than {MAX_VALUES:,} values, or is too deep")
        level = [item for part in level if isinstance(part, list | tuple) for item in part]


def _of_task(task: TaskData) -> Recovered:
    model, revision = str(task["model"]), str(task.get("revision", ""))
    if "/" in model and "@" not in model and re.fullmatch(r"[0-9a-f]{40}", revision):
        model = f"{model}@{revision}"
    call = task.get("scheduler") or {"name": "default", "arguments": ()}
    arguments = ", ".join(f"{name}={_scalar(value)}" for name, value in call["arguments"])
    found: dict[str, object] = {
        "model": model,
        "prompt": task["prompt"],
        "negative_prompt": task.get("negative_prompt", ""),
        "seed": int(task["seed"]),
        "size": f"{task['width']}x{task['height']}",
        "steps": task["steps"],
        "guidance": task["guidance"],
        "scheduler": f"{call['name']}({arguments})" if arguments else str(call["name"]),
        "memory": task.get("memory", "auto"),
        "dtype": task["dtype"],
        "lora": _loras(task.get("loras", ())),
    }
    if task.get("vae"):
        found["vae"] = _beside(task["vae"])
    notes = []
    if "+" in revision:
        notes.append(
            f"{model} is an entry of a models.yaml, without which (or with another) it is another picture"
        )
    for name, value in task.get("extra", ()):
        found[f"extra.{name}"] = [list(value)] if isinstance(value, list | tuple) else value
    return Recovered(
        axes=found,
        output={"format": task.get("format", "png"), **dict(task.get("format_options", ()))},
        resize=(task["width"], task["height"]) != (task["rendered_width"], task["rendered_height"]),
        texts=_texts(task),
        notes=tuple(notes),
        model_hash=content_of(revision),
    )


def _texts(task: TaskData) -> dict[str, str]:
    """How the texts of a task are read. Raises ``ValueError`` where no manifest can say it."""
    found = {name: str(task[name]) for name in _TEXTS if task.get(name)}
    if wrong := [value for name, value in found.items() if value != _TEXTS[name]]:
        raise ValueError(f"{values.shown(wrong[0])} is no way of reading prompts")
    return found


def _loras(items: Sequence[TaskData]) -> str:
    """As a manifest writes them; raises ``ValueError`` where that would read as others, ``a + b`` for one."""
    found = [(_beside(item), f"{item['scale']:g}") for item in items]
    text = " + ".join(f"{name}(scale={scale})" for name, scale in found)
    if found and lora(text) != tuple((name, float(scale)) for name, scale in found):
        raise ValueError(f"lora: {values.shown(text)} reads as another one in a manifest")
    return text or "none"


def _beside(item: TaskData) -> str:
    """A LoRA or autoencoder from the Hub by its name there: the cache may lie elsewhere tomorrow."""
    return hub_name(str(item.get("source", ""))) or str(item.get("name") or item["path"])


def places(picture: Recovered) -> list[str]:
    """What a picture's axes name outside the catalogue and the Hub: folders, files, addresses."""
    model, loras = str(picture.axes.get("model", "")), lora(picture.axes.get("lora"))
    named = (model.removeprefix("random:"), str(picture.axes.get("vae", "")), *(name for name, _ in loras))
    return [name for name in named if _is_place(name)]


def _is_place(name: str) -> bool:
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or "://" in name
        or ".." in name.split("/")
        or bool(PureWindowsPath(name).drive)
    )


def _scalar(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value) if isinstance(value, bool | None) else str(value)
