"""What a manifest may say beside its axes, as checked models of its sections; and what it is once it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from batch.manifest import formats, values
from batch.manifest.document import Place
from batch.manifest.naming import check_template
from batch.records.kinds import RunKind
from batch.records.values import Arguments


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MAX_BYTES = 2**60
_SIZE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def byte_size(value: object) -> int:
    """``5GiB``, ``500 MB`` or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_BYTES:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", str(value).strip())
    if match is None or match[2].upper() not in _SIZE_UNITS:
        raise ValueError(f"{values.shown(value)} is not a size in bytes; write for example 5GiB")
    size = float(match[1]) * _SIZE_UNITS[match[2].upper()]
    if size > _MAX_BYTES:
        raise ValueError(f"{values.shown(value)} is more than any disk has; write for example 5GiB")
    return int(size)


class Output(_Section):
    """The ``output`` section: what is written, and under which name. A format's own options stand beside."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format: str = Field("png", description="The format of the images.")
    keep_latents: bool = Field(
        False, description="Keep each image's latents beside it, for `redecode` (2 MB at 5376x3072)."
    )
    metadata: Literal["full", "parameters", "none"] = Field(
        "full", description="The texts in the images: all, only what A1111 writes too, or none."
    )
    name: str = Field(
        "{prompt}-{seed}-{size}",
        description="Template of the file name; every axis in braces. The id is added, so names never clash.",
    )

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, name: str) -> str:
        return formats.canonical(name)

    @field_validator("name")
    @classmethod
    def _fields_are_known(cls, template: str, info: ValidationInfo) -> str:
        return check_template(formats.without_suffix(template, info.data.get("format", "")))

    @property
    def options(self) -> Arguments:
        """The format's options that differ from its defaults."""
        return formats.check_options(self.format, self.model_extra or {})


class RunOptions(_Section):
    """The ``run`` section: how a run behaves; none of it changes a picture."""

    retries: int = Field(2, ge=1, le=100, description="Attempts per image over all runs before it is left.")
    min_free_disk: int = Field(
        5 * 2**30,
        description="Below this much free disk no image is started; 5GiB, 500MB.",
        json_schema_extra={"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]},
    )
    max_consecutive_failures: int = Field(
        5, ge=1, description="So many failures one after the other stop the run: the rest would fail too."
    )
    on_oom: Literal["fail", "fallback"] = Field(
        "fallback",
        description="Out of memory: fallback repeats the stage with a smaller setting, fail records the failure.",
    )
    recycle_after: int = Field(
        0, ge=0, description="Images after which the worker process is replaced by a fresh one; 0 is never."
    )
    compile: Literal["auto", "off", "on"] = Field(
        "auto", description="Compile the model's blocks: where it pays (auto), never, or always."
    )
    batch: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1, description="Most images of one size and setting in one call of the model; auto where that is faster."
    )
    stop: Literal["finish", "drop"] = Field(
        "finish", description="A first Ctrl-C, or `stop`: finish the image at work, or drop it."
    )

    @field_validator("batch", mode="before")
    @classmethod
    def _a_number_or_auto(cls, value: object) -> object:
        if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64):
            return value
        raise ValueError(f"{values.shown(value)} is no number of images; write 1 to 64, or auto")

    @field_validator("min_free_disk", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> int:
        return byte_size(value)


class TopLevel(_Section):
    """The manifest's top level. What holds axes is read by the table of axes, beside this model."""

    name: str | None = Field(None, description="Name of the run; the manifest's file name when left out.")
    kind: Literal["render", "measure"] = Field(
        "render", description="render makes pictures; measure compares what settings cost."
    )
    repeats: Annotated[int, Field(ge=1, le=100)] | None = Field(
        None, description="Of kind: measure: how often each image is measured; 3 when left out."
    )
    grid: dict[str, object] = Field(
        default={}, description="The axes; every key multiplies, a scalar is an axis of one."
    )
    zip: list[dict[str, object]] = Field(
        default=[], description="Groups of axes that move together; the groups multiply with the rest."
    )
    rows: dict[str, object] | None = Field(
        None, description="A table whose columns are axes: each row is a grid of its own."
    )
    exclude: list[dict[str, object]] = Field(
        default=[], description="Each entry leaves out every task that matches all of it."
    )
    include: list[dict[str, object]] = Field(
        default=[], description="Tasks besides the grid; what an entry leaves out comes from the grid's scalars."
    )
    prompt_prefix: str = Field("", description="Put before every prompt.")
    prompt_suffix: str = Field("", description="Put after every prompt.")
    styles: dict[str, object] = Field(
        default={},
        description="Styles by name, a text or {prompt, negative_prompt}; file: styles.csv, several, or a folder.",
    )
    variants: object = Field(
        "off", description="What {a|b} and __name__ in a prompt stand for: off, all, or {random: n}."
    )
    wildcards: dict[str, object] = Field(
        default={},
        description="Lists for __name__ in prompts: texts, {file: colours.txt}, or lists by their names.",
    )
    long_prompts: Literal["cut", "chunk"] = Field(
        "cut",
        description="A text longer than its encoder reads: cut it, as diffusers does, or encode it in pieces.",
    )
    prompt_syntax: Literal["plain", "a1111"] = Field(
        "plain", description="Brackets in prompts: themselves, or weights and <lora:…> as in A1111 (CLIP)."
    )
    resize: bool = Field(False, description="Allow sizes that the model reaches only by resampling.")
    allow_pickle: list[str] = Field(
        default=[], description="Models that may be loaded from pickles, which can run any code."
    )
    trust_remote_code: list[str] = Field(
        default=[], description="Models whose repository may run code of its own."
    )
    output: Output = Field(default_factory=Output, description="What is written, under which name.")
    run: RunOptions = Field(default_factory=RunOptions, description="How a run behaves.")
    notify: list[str] = Field(
        default=[],
        description="Who is told how a run goes: apprise URLs or commands; $NAME is taken from the environment.",
    )

    @field_validator("allow_pickle", "trust_remote_code", mode="before")
    @classmethod
    def _names_models(cls, models: object, info: ValidationInfo) -> object:
        if not isinstance(models, list):
            name = models if isinstance(models, str) else "MODEL"
            raise ValueError(f"it names the models for which that is accepted: {info.field_name}: [{name}]")
        return models

    @property
    def run_options(self) -> RunOptions:
        """The run section; a measurement falls back to nothing, and compiles where it is told to."""
        if RunKind(self.kind) is not RunKind.MEASURE:
            return self.run
        compiled = self.run.compile if "compile" in self.run.model_fields_set else "off"
        return self.run.model_copy(update={"on_oom": "fail", "compile": compiled})

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[\w][\w .+-]{0,99}", name):
            raise ValueError(f"{values.shown(name)} cannot name a folder; use letters, digits, - and _")
        return name


_NOTHING: Mapping[str, tuple[Entry, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of an axis and where it was written."""

    value: Any
    place: Place
    own: Mapping[str, tuple[Entry, ...]] = field(default_factory=lambda: _NOTHING)
    """Of a prompt: the values that replace the grid's on other axes for this prompt."""
    template: str = ""
    """Of a prompt that was one of several alternatives: the text that holds all of them."""


@dataclass(frozen=True, slots=True)
class Factor:
    """What multiplies in a grid: one axis, or the axes of a zip group, a row at a time."""

    names: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Factors that multiply: the manifest's grid, a row of its table, or an entry of ``include``."""

    factors: tuple[Factor, ...]
    place: Place
    kind: Literal["grid", "row", "include"] = "grid"
    """``exclude`` does not touch what ``include`` adds."""

    def names(self) -> list[str]:
        """Every axis, in order."""
        return [name for factor in self.factors for name in factor.names]

    def entries(self, name: str) -> Iterator[Entry]:
        """Every value of one axis, those that prompts have of their own too."""
        for factor in self.factors:
            # Only prompts have values of their own, and a million seeds need not be asked.
            for row in factor.rows if {name, "prompt"}.intersection(factor.names) else ():
                for known, entry in zip(factor.names, row, strict=True):
                    if known == name:
                        yield entry
                    yield from entry.own.get(name, ())

    def own_names(self) -> set[str]:
        """Axes that some prompt gives values of its own."""
        prompts = [factor for factor in self.factors if "prompt" in factor.names]
        return {name for factor in prompts for row in factor.rows for entry in row for name in entry.own}


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``exclude``: a task that has one of the values on every axis named is left out."""

    conditions: dict[str, tuple[object, ...]]
    place: Place


@dataclass(frozen=True, slots=True)
class Style:
    """What a style makes of a prompt and a negative prompt; ``{prompt}`` stands for the text."""

    prompt: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, read and checked as far as it can be without knowing the models."""

    name: str
    kind: RunKind
    source: str
    folder: str
    text: str
    suffix: str
    """``.yaml``, or what kind of table the text is."""
    grids: tuple[Grid, ...]
    exclude: tuple[Rule, ...] = ()
    styles: Mapping[str, Style] = field(default_factory=dict)
    random_variants: int = 0
    """Texts drawn of a prompt with alternatives; 0 takes all of them."""
    long_prompts: str = ""
    """See :class:`~batch.records.tasks.Task`."""
    prompt_syntax: str = ""
    """See :class:`~batch.records.tasks.Task`."""
    resize: bool = False
    allow_pickle: frozenset[str] = frozenset()
    trust_remote_code: frozenset[str] = frozenset()
    permissions: Mapping[str, Mapping[str, Place]] = field(default_factory=dict)
    """Where each name under these two keys was written."""
    repeats: int = 0
    """Of a measurement: how often each image is measured; 0 is none."""
    output: Output = field(default_factory=Output)
    run: RunOptions = field(default_factory=RunOptions)
    notify: tuple[str, ...] = ()
    """As written; ``batch.run.notify`` checks them."""
    warnings: tuple[str, ...] = ()
