"""What a manifest may say: the table of axes and the checked models of its other sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from batch.manifest import values
from batch.manifest.document import Place


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the grid: how a value is read, and the help that the docs print."""

    read: Callable[[Any], Any]
    help: str
    many: bool = False
    """``read`` returns a list of values (a range), not one."""


AXES: dict[str, Axis] = {
    "model": Axis(values.word, "a name that `models` lists, a Hub id (id@revision), or a folder"),
    "prompt": Axis(values.prompt, "a text, a list, or {file: prompts.txt}"),
    "negative_prompt": Axis(values.text, "what the picture should not show"),
    "seed": Axis(values.seeds, "a whole number, a range 0..3, or {random: 4}", many=True),
    "size": Axis(values.size, "WIDTHxHEIGHT in pixels"),
    "steps": Axis(lambda value: values.numbers(value, 1, 1000), "denoising steps", many=True),
    "guidance": Axis(values.number, "guidance scale; 1 or less turns guidance off"),
    "scheduler": Axis(values.scheduler, "a scheduler, with overrides: dpm++(flow_shift=6)"),
    "memory": Axis(values.memory, "how a session saves VRAM: a profile, or steps joined with +"),
    "dtype": Axis(values.word, "float32, bfloat16 or float16"),
    "lora": Axis(values.lora, "a LoRA file, with (scale=0.8); several joined with ' + '; or none"),
}
"""Every axis; ``extra.<argument>`` comes beside these for any other argument of the pipeline's call."""

EXTRA = re.compile(r"extra\.([A-Za-z_]\w*)")

NAME_FIELDS = (
    "prompt", "negative_prompt", "seed", "size", "width", "height", "steps", "guidance",
    "scheduler", "memory", "dtype", "lora", "model", "id",
)  # fmt: skip
"""What a name template may hold in braces."""


def axis(name: str) -> Axis | None:
    """The axis of that name, or None."""
    if EXTRA.fullmatch(name):
        return Axis(values.frozen, "an argument of the pipeline's call")
    return AXES.get(name)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def byte_size(value: Any) -> int:
    """``5GiB``, ``500 MB`` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if match is None or match[2].upper() not in _SIZE_UNITS:
        raise ValueError(f"{values.shown(value)} is not a size in bytes; write for example 5GiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


class Output(_Section):
    """The ``output`` section: what is written, and under which name."""

    format: Literal["png"] = Field("png", description="The format of the images; png is lossless.")
    name: str = Field(
        "{prompt}-{seed}-{size}",
        description="Template of the file name; every axis in braces. The id is added, so names never clash.",
    )

    keep_latents: bool = Field(
        False, description="Keep the latents of every image rendered, for `redecode`; 2 MiB at 5376x3072."
    )

    @field_validator("name")
    @classmethod
    def _fields_are_known(cls, template: str) -> str:
        unknown = [name for name in re.findall(r"\{([^{}]*)\}", template) if name not in NAME_FIELDS]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is unknown; possible are {', '.join(NAME_FIELDS)}")
        if not template.strip():
            raise ValueError("the template is empty")
        if re.sub(r"\{[^{}]*\}", "", template).strip("{}") != re.sub(r"\{[^{}]*\}", "", template):
            raise ValueError("a brace is left open; write {prompt}")
        return template


class RunOptions(_Section):
    """The ``run`` section: how a run behaves; none of it changes a picture."""

    retries: int = Field(2, ge=1, le=100, description="Attempts per image over all runs before it is left.")
    min_free_disk: int = Field(
        5 * 2**30, description="Below this much free disk no image is written; 5GiB, 500MB."
    )

    @field_validator("min_free_disk", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> int:
        return byte_size(value)


class TopLevel(_Section):
    """The manifest's top level. ``grid`` and ``exclude`` are read by the table of axes."""

    name: str | None = Field(None, description="Name of the run; the manifest's file name when left out.")
    kind: Literal["render"] = Field("render", description="render makes pictures.")
    grid: dict[str, Any] = Field(description="The axes; every key multiplies, a scalar is an axis of one.")
    exclude: list[dict[str, Any]] = Field(
        default=[], description="Each entry leaves out every task that matches all of it."
    )
    resize: bool = Field(False, description="Allow sizes that the model reaches only by resampling.")
    output: Output = Field(default_factory=Output, description="What is written, under which name.")
    run: RunOptions = Field(default_factory=RunOptions, description="How a run behaves.")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[\w][\w .+-]{0,99}", name):
            raise ValueError(f"{values.shown(name)} cannot name a folder; use letters, digits, - and _")
        return name


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of an axis and where it was written."""

    value: Any
    place: Place


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``exclude``: a task that has one of the values on every axis named is left out."""

    conditions: dict[str, tuple[Any, ...]]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, read and checked as far as it can be without knowing the models."""

    name: str
    kind: str
    source: str
    folder: str
    text: str
    axes: dict[str, tuple[Entry, ...]]
    exclude: tuple[Rule, ...] = ()
    resize: bool = False
    output: Output = field(default_factory=Output)
    run: RunOptions = field(default_factory=RunOptions)
