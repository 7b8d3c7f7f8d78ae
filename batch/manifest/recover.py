"""From pictures back to a manifest: what their metadata says, as YAML that renders them again.

Read are the metadata of this program, the ``parameters`` text of A1111 and the many that write it too,
and the JSON of InvokeAI. Only the first promises the same pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from batch.records import lora_origin

_SETTING = re.compile(r'\s*([\w][\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')

SAMPLERS = {
    "default": "default",
    "euler": "euler",
    "euler a": "euler-a",
    "euler ancestral": "euler-a",
    "heun": "heun",
    "lms": "lms",
    "ddim": "ddim",
    "plms": "pndm",
    "dpm2": "dpm2",
    "dpm2 a": "dpm2-a",
    "dpm++ 2m": "dpm++",
    "dpm++ 2m sde": "dpm++(algorithm_type=sde-dpmsolver++)",
    "dpm++ sde": "dpm++-sde",
    "unipc": "unipc",
    "lcm": "lcm",
    "deis": "deis",
    # InvokeAI
    "euler_a": "euler-a",
    "dpmpp_2m": "dpm++",
    "dpmpp_2m_k": "dpm++(use_karras_sigmas=true)",
    "dpmpp_sde": "dpm++-sde",
    "euler_k": "euler(use_karras_sigmas=true)",
    "kdpm_2": "dpm2",
    "kdpm_2_a": "dpm2-a",
    "pndm": "pndm",
}
"""Names of samplers elsewhere, in lower case, to names of ``scheduler`` here."""

_CARRIED = {
    "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "Version",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """One picture as axes of a manifest."""

    axes: Mapping[str, Any]
    output: Mapping[str, Any]
    resize: bool = False
    notes: tuple[str, ...] = ()
    """What could not be carried over."""


def from_metadata(texts: Mapping[str, str]) -> Recovered | None:
    """The picture behind metadata texts by key; None when none of them is understood."""
    readers: dict[str, Callable[[str], Recovered]] = {
        "run_batch": lambda text: from_task(json.loads(text)["task"]),
        "invokeai_metadata": _from_invoke,
        "sd-metadata": _from_old_invoke,
        "parameters": lambda text: _from_swarm(text) if "sui_image_params" in text else _from_a1111(text),
    }
    for key, read in readers.items():
        if key in texts:
            try:
                return read(texts[key])
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                continue  # damaged, or another program's: the next one may be whole
    return None


def _lora(item: Mapping[str, Any]) -> str:
    """One from the Hub by its name there: the cache may lie elsewhere tomorrow."""
    repo, commit, file = lora_origin(str(item.get("source", "")))
    return f"{repo}/{file}@{commit}" if repo and commit and file else str(item["path"])


def from_task(task: Mapping[str, Any]) -> Recovered:
    """A task as JSON data, as receipts and images hold it."""
    loras = [f"{_lora(item)}(scale={item['scale']:g})" for item in task.get("loras", ())]
    model, revision = str(task["model"]), str(task.get("revision", ""))
    if "/" in model and "@" not in model and re.fullmatch(r"[0-9a-f]{40}", revision):
        model = f"{model}@{revision}"
    axes: dict[str, Any] = {
        "model": model,
        "prompt": task["prompt"],
        "negative_prompt": task.get("negative_prompt", ""),
        "seed": int(task["seed"]),
        "size": f"{task['width']}x{task['height']}",
        "steps": task["steps"],
        "guidance": task["guidance"],
        "scheduler": _call(task.get("scheduler")),
        "memory": task.get("memory", "auto"),
        "dtype": task["dtype"],
        "lora": " + ".join(loras) or "none",
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


def _call(scheduler: Any) -> str:
    if not scheduler:
        return "default"
    arguments = ", ".join(f"{name}={_scalar(value)}" for name, value in scheduler["arguments"])
    return f"{scheduler['name']}({arguments})" if arguments else str(scheduler["name"])


def _scalar(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_scalar, value))}]"
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def _from_a1111(text: str) -> Recovered:
    """``prompt``, ``Negative prompt: …`` and a last line of settings."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    settings = dict(_SETTING.findall(lines[-1])) if lines[-1].lstrip().startswith("Steps:") else {}
    body = "\n".join(lines[:-1] if settings else lines)
    prompt, _, negative = body.partition("\nNegative prompt:")
    if not prompt.strip() or not settings:
        raise ValueError("not the text of A1111")
    given = {key: _unquoted(value.strip()) for key, value in settings.items()}
    notes: list[str] = []
    axes: dict[str, Any] = {
        "model": given.get("Model") or "",
        "prompt": prompt.strip(),
        "negative_prompt": negative.strip(),
        "seed": int(given["Seed"]),
        "size": given["Size"],
        "steps": int(given["Steps"]),
        "guidance": float(given["CFG scale"]),
        "scheduler": _sampler(given.get("Sampler", ""), given.get("Schedule type", ""), notes),
    }
    lost = sorted(set(given) - _CARRIED)
    if lost:
        notes.append(f"left out: {', '.join(lost)}")
    if re.search(r"<lora:|\([^()]*:\d", prompt):
        notes.append("weights such as (word:1.2) and <lora:…> in the prompt are not understood here")
    return _foreign(axes, notes)


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value


def _sampler(name: str, schedule: str, notes: list[str]) -> str:
    wanted = name.strip().lower()
    karras = wanted.endswith(" karras") or schedule.lower() == "karras"
    wanted = wanted.removesuffix(" karras")
    found = SAMPLERS.get(wanted)
    if found is None:
        if name:
            notes.append(f"sampler {name} is not known here; the model's own scheduler is used")
        return "default"
    if karras and "(" not in found:
        return f"{found}(use_karras_sigmas=true)"
    return found


def _from_invoke(text: str) -> Recovered:
    data = json.loads(text)
    model = data.get("model") or {}
    name = model.get("name") or model.get("model_name") if isinstance(model, dict) else model
    notes: list[str] = []
    if data.get("loras"):
        notes.append("left out: loras; name their files under lora:")
    axes: dict[str, Any] = {
        "model": str(name or ""),
        "prompt": str(data["positive_prompt"]),
        "negative_prompt": str(data.get("negative_prompt") or ""),
        "seed": int(data["seed"]),
        "size": f"{int(data['width'])}x{int(data['height'])}",
        "steps": int(data["steps"]),
        "guidance": float(data["cfg_scale"]) if data.get("cfg_scale") is not None else None,
        "scheduler": _sampler(str(data.get("scheduler") or ""), "", notes),
    }
    return _foreign(axes, notes)


def _from_swarm(text: str) -> Recovered:
    data = json.loads(text)["sui_image_params"]
    notes: list[str] = []
    axes: dict[str, Any] = {
        "model": str(data.get("model") or ""),
        "prompt": str(data["prompt"]),
        "negative_prompt": str(data.get("negativeprompt") or ""),
        "seed": int(data["seed"]),
        "size": f"{int(data['width'])}x{int(data['height'])}",
        "steps": int(data["steps"]),
        "guidance": float(data["cfgscale"]),
        "scheduler": _sampler(str(data.get("sampler") or ""), str(data.get("scheduler") or ""), notes),
    }
    lost = sorted(set(data) - _SWARM)
    if lost:
        notes.append(f"left out: {', '.join(lost)}")
    return _foreign(axes, notes)


_SWARM = {
    "model", "prompt", "negativeprompt", "seed", "width", "height", "steps", "cfgscale", "sampler", "scheduler",
    "aspectratio", "swarm_version",
}  # fmt: skip


def _from_old_invoke(text: str) -> Recovered:
    data = json.loads(text)
    image = data["image"]
    prompt = image["prompt"]
    if isinstance(prompt, list):  # [{"prompt": …, "weight": 1.0}]
        prompt = ", ".join(str(part["prompt"]) for part in prompt)
    notes: list[str] = []
    positive, _, negative = str(prompt).partition(" [")
    axes: dict[str, Any] = {
        "model": str(data.get("model_weights") or ""),
        "prompt": positive,
        "negative_prompt": negative.rstrip("]"),
        "seed": int(image["seed"]),
        "size": f"{int(image['width'])}x{int(image['height'])}",
        "steps": int(image["steps"]),
        "guidance": float(image["cfg_scale"]),
        "scheduler": _sampler(str(image.get("sampler") or "").removeprefix("k_"), "", notes),
    }
    return _foreign(axes, notes)


def _foreign(axes: Mapping[str, Any], notes: Sequence[str]) -> Recovered:
    kept = {name: value for name, value in axes.items() if value is not None}
    return Recovered(axes=kept, output={"format": "png"}, notes=tuple(notes))


def to_yaml(pictures: Sequence[tuple[str, Recovered]]) -> str:
    """A manifest that renders the pictures, each with the name it came from as a comment.

    What all have in common stands in ``grid``, what differs in an entry of ``include`` each.
    """
    first = pictures[0][1]
    everything = [dict(picture.axes) for _, picture in pictures]
    data: dict[str, Any] = {}
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
