"""The two texts every picture carries: A1111's ``parameters`` for galleries, JSON for rendering it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from batch import __version__
from batch.catalogue import scheduler_names
from batch.records.kinds import TextsKept
from batch.records.reading import to_json
from batch.records.tasks import Task, content_of, short_revision

JSON_KEY = "run_batch"
"""Under which the whole task stands, as JSON."""

PARAMETERS_KEY = "parameters"
"""Under which A1111's text stands."""

_MACHINE_FIELDS = {"id", "picture_id", "name", "source", "style", "repeat", "warmup"}

_LATER_FIELDS = {"prompt_template", "long_prompts", "prompt_syntax", "vae"}
"""Left out where they are empty, so that a picture keeps the bytes that it had before there were any."""

_UNSAFE = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""Half characters, which a file name may bring in, and two that XML does not allow."""

SAMPLERS = {
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "DPMSolverSinglestepScheduler": "DPM++ 2S",
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "FlowMatchEulerDiscreteScheduler": "Euler",
    "HeunDiscreteScheduler": "Heun",
    "FlowMatchHeunDiscreteScheduler": "Heun",
    "KDPM2DiscreteScheduler": "DPM2",
    "KDPM2AncestralDiscreteScheduler": "DPM2 a",
    "LMSDiscreteScheduler": "LMS",
    "DDIMScheduler": "DDIM",
    "PNDMScheduler": "PLMS",
    "LCMScheduler": "LCM",
    "UniPCMultistepScheduler": "UniPC",
    "DEISMultistepScheduler": "DEIS",
}
"""A1111's names of diffusers' schedulers; one that is not here goes by the name the manifest gives it."""


@dataclass(frozen=True, slots=True)
class FileTexts:
    """What an image file carries; "" for what it does not."""

    parameters: str
    rerun: str


def texts_of(task: Task, notes: Mapping[str, str], metadata: TextsKept) -> FileTexts:
    """The texts of a task; ``notes`` name what its picture was made with instead of what was asked for."""
    return FileTexts(
        parameters="" if metadata is TextsKept.NONE else parameters(task, notes),
        rerun=rerun_json(task, notes) if metadata is TextsKept.FULL else "",
    )


_NONE: Mapping[str, str] = MappingProxyType({})


def parameters(task: Task, notes: Mapping[str, str] = _NONE) -> str:
    """The ``parameters`` text that A1111 writes and galleries read: prompt, negative prompt, settings."""
    sampler = task.scheduler.name if task.scheduler else "default"  # the model's own
    # Pictures may differ in more than A1111's settings: LoRAs, settings of the scheduler, extra arguments.
    more = {"Lora": json.dumps(" + ".join(map(str, task.loras)), ensure_ascii=False)} if task.loras else {}
    for name, value in (*(task.scheduler.arguments if task.scheduler else ()), *task.extra):
        more[name.replace("_", " ").capitalize()] = _one_value(str(value))
    settings = {
        "Steps": task.steps,
        "Sampler": SAMPLERS.get(scheduler_names.SCHEDULERS.get(sampler, sampler), sampler),
        "CFG scale": f"{task.guidance:g}",
        "Seed": task.seed,
        "Size": f"{task.width}x{task.height}",
        "Model": _one_value(task.model),
        **({"Model hash": short_revision(task.revision)} if content_of(task.revision) else {}),
        **({"VAE": _one_value(str(task.vae))} if task.vae else {}),
        "Dtype": _one_value(task.dtype),
        **more,
        "Version": f"run_batch {__version__}",
        **{name.replace("_", " ").capitalize(): json.dumps(text) for name, text in notes.items()},
    }
    if (
        task.prompt_template
    ):  # as sd-dynamic-prompts: where A1111's reader takes it for a setting, and for no prompt
        settings["Template"] = _one_value(task.prompt_template)
    negative = f"\nNegative prompt: {task.negative_prompt}" if task.negative_prompt else ""
    text = f"{task.prompt}{negative}\n" + ", ".join(f"{key}: {value}" for key, value in settings.items())
    return _UNSAFE.sub("\ufffd", text)


def _one_value(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:"\n\r]', text) else text


def rerun_json(task: Task, notes: Mapping[str, str] = _NONE) -> str:
    """Everything that decides the picture. No times and no machine: the same task gives the same bytes."""
    data = to_json(task)
    if task.vae and task.vae.name:  # where it lies is nobody's business
        data["vae"] = {"path": task.vae.name, "sha256": task.vae.sha256, "source": task.vae.source}
    kept = {item.name: data[item.name] for item in fields(task) if item.name not in _MACHINE_FIELDS}
    kept = {name: value for name, value in kept.items() if value or name not in _LATER_FIELDS}
    extra = {"notes": dict(notes)} if notes else {}
    text = json.dumps({"version": 1, "task": kept, **extra}, sort_keys=True, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
