"""From pictures back to a manifest: what their metadata says, as YAML that renders them again.

Read are the metadata of this program, the ``parameters`` text of A1111 and the many that write it too,
and the JSON of InvokeAI. Only the first promises the same pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from batch.manifest import foreign
from batch.manifest.recovered import Recovered
from batch.records.tasks import lora_origin

TaskData = Mapping[str, Any]
"""A task as JSON data, as receipts and images hold it."""


def from_metadata(texts: Mapping[str, str]) -> Recovered | None:
    """The picture behind metadata texts by key; None when none of them is understood."""
    readers: dict[str, Callable[[str], Recovered]] = {
        "run_batch": lambda text: from_task(json.loads(text)["task"]),
        "invokeai_metadata": foreign.invoke,
        "sd-metadata": foreign.old_invoke,
        "parameters": lambda text: (foreign.swarm if "sui_image_params" in text else foreign.a1111)(text),
    }
    for key, read in readers.items():
        if key in texts:
            try:
                return read(texts[key])
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                continue  # damaged, or another program's: the next one may be whole
    return None


def from_task(task: TaskData) -> Recovered:
    """A task of this program as axes."""
    model, revision = str(task["model"]), str(task.get("revision", ""))
    if "/" in model and "@" not in model and re.fullmatch(r"[0-9a-f]{40}", revision):
        model = f"{model}@{revision}"
    call = task.get("scheduler") or {"name": "default", "arguments": ()}
    arguments = ", ".join(f"{name}={_scalar(value)}" for name, value in call["arguments"])
    axes: dict[str, object] = {
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
        "lora": " + ".join(map(_lora, task.get("loras", ()))) or "none",
    }
    notes = []
    if "+" in revision:
        notes.append(
            f"{model} is an entry of a models.yaml, without which (or with another) it is another picture"
        )
    for name, value in task.get("extra", ()):
        axes[f"extra.{name}"] = [list(value)] if isinstance(value, list | tuple) else value
    return Recovered(
        axes=axes,
        output={"format": task.get("format", "png"), **dict(task.get("format_options", ()))},
        resize=(task["width"], task["height"]) != (task["rendered_width"], task["rendered_height"]),
        notes=tuple(notes),
    )


def _lora(item: TaskData) -> str:
    """One from the Hub by its name there: the cache may lie elsewhere tomorrow."""
    repo, commit, file = lora_origin(str(item.get("source", "")))
    named = f"{repo}/{file}@{commit}" if repo and commit and file else str(item["path"])
    return f"{named}(scale={item['scale']:g})"


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
    names = "".join(f"# {' '.join(name.split())}\n" for name, _ in pictures[:20])
    more = f"# and {len(pictures) - 20} more\n" if len(pictures) > 20 else ""
    body = yaml.safe_dump(data, allow_unicode=True, sort_keys=False, width=100)
    return f"# Made from\n{names}{more}{body}"
