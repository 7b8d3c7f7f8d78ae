"""From pictures back to a manifest: what their metadata says, as YAML that renders them again.

Read are the metadata of this program, the ``parameters`` text of A1111 and the many that write it too,
and the JSON of InvokeAI. Only the first promises the same pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

import yaml

from batch.base.text import is_plain, visible
from batch.manifest import axes, foreign, formats, values
from batch.manifest.loras import lora
from batch.manifest.recovered import Recovered
from batch.records.reading import any_json
from batch.records.tasks import lora_origin

MAX_TEXT = 2**18
"""Letters of a text that is understood: a hundred pages of prompt."""

MAX_VALUES, MAX_DEPTH = 5_000, 16
"""Of an argument of the pipeline: sigmas of as many steps as there can be, in lists of lists."""

TaskData = Mapping[str, Any]
"""A task as JSON data, as receipts and images hold it."""

_READERS: Mapping[str, Callable[[str], Recovered]] = {
    "run_batch": lambda text: _of_task(any_json(text)["task"]),  # type: ignore[index]  # anything, and caught
    "invokeai_metadata": foreign.invoke,
    "sd-metadata": foreign.old_invoke,
    "parameters": lambda text: (foreign.swarm if "sui_image_params" in text else foreign.a1111)(text),
}


def from_metadata(texts: Mapping[str, str]) -> Recovered:
    """The picture behind metadata texts by key. Raises ``ValueError``, which says why none is understood."""
    why = {}
    for key, read in _READERS.items():
        if key not in texts:
            continue
        try:
            if len(texts[key]) > MAX_TEXT:
                raise ValueError(f"it has more than {MAX_TEXT:,} letters")
            return _checked(read(texts[key]))
        except ValueError as error:
            why[key] = str(error)
        except foreign.FOREIGN:
            why[key] = "it is damaged, or another program's"
    raise ValueError("; ".join(f"{key}: {reason}" for key, reason in why.items()))


def from_task(task: TaskData) -> Recovered:
    """A task of this program as axes. Raises ``ValueError`` where no manifest can say it."""
    return _checked(_of_task(task))


def _checked(found: Recovered) -> Recovered:
    """A picture all of whose axes a manifest takes, each as one value and no more. Raises ``ValueError``."""
    for name, value in found.axes.items():
        if name == "model" and value == "":  # ``--model`` may name one
            continue
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
        notes=tuple(notes),
    )


def _loras(items: Sequence[TaskData]) -> str:
    """As a manifest writes them; raises ``ValueError`` where that would read as others, ``a + b`` for one."""
    found = [(_lora(item), f"{item['scale']:g}") for item in items]
    text = " + ".join(f"{name}(scale={scale})" for name, scale in found)
    if found and lora(text) != tuple((name, float(scale)) for name, scale in found):
        raise ValueError(f"lora: {values.shown(text)} reads as another one in a manifest")
    return text or "none"


def _lora(item: TaskData) -> str:
    """One from the Hub by its name there: the cache may lie elsewhere tomorrow."""
    repo, commit, file = lora_origin(str(item.get("source", "")))
    return f"{repo}/{file}@{commit}" if repo and commit and file else str(item["path"])


def places(picture: Recovered) -> list[str]:
    """What a picture's axes name outside the catalogue and the Hub: folders, files, addresses."""
    model, loras = str(picture.axes["model"]), lora(picture.axes.get("lora"))
    return [name for name in (model.removeprefix("random:"), *(name for name, _ in loras)) if _is_place(name)]


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


def to_yaml(pictures: Sequence[tuple[str, Recovered]]) -> str:
    """A manifest that renders the pictures, each with the name it came from as a comment.

    What all have in common stands in ``grid``, what differs in an entry of ``include`` each.
    """
    first = pictures[0][1]
    everything = [dict(picture.axes) for _, picture in pictures]
    data: dict[str, object] = {}
    if len(pictures) == 1:
        data["grid"] = everything[0]
    else:
        shared = {
            name: value
            for name, value in first.axes.items()
            if name != "prompt" and all(axes.get(name) == value for axes in everything)
        }
        data["grid"] = shared
        data["include"] = [
            {name: value for name, value in axes.items() if name not in shared} for axes in everything
        ]
    if any(picture.resize for _, picture in pictures):
        data["resize"] = True
    outputs = [picture.output for _, picture in pictures]
    if outputs[0] != {"format": "png"} and all(output == outputs[0] for output in outputs):
        data["output"] = dict(outputs[0])
    names = "".join(f"# {visible(' '.join(name.split()))}\n" for name, _ in pictures[:20])
    more = f"# and {len(pictures) - 20} more\n" if len(pictures) > 20 else ""
    body = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=100)
    if not is_plain(
        body
    ):  # a letter that turns others round is printable for YAML; it is written as a number then
        body = yaml.safe_dump(data, allow_unicode=False, sort_keys=False, width=100)
    return f"# Made from\n{names}{more}{body}"
