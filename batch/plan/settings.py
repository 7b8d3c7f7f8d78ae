"""What tasks share that differ in prompt, negative prompt, style and seed only: worked out once for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from batch.catalogue import pag, precision
from batch.catalogue.families import CLIP_PIPELINES, FAMILIES
from batch.catalogue.model import Model
from batch.catalogue.models import where_rendered
from batch.manifest import formats
from batch.manifest.axes import EXTRA
from batch.manifest.document import Place
from batch.manifest.schema import Entry, Manifest
from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan import names
from batch.plan.alike import PICTURE_AXES, PICTURE_FIELDS
from batch.plan.estimate import cost
from batch.plan.findings import DEFAULT
from batch.plan.identity import Ids
from batch.records.kinds import RunKind
from batch.records.tasks import Task
from batch.records.values import Call

if TYPE_CHECKING:
    from batch.plan.exclude import Exclusion, Exclusions
    from batch.plan.findings import Findings
    from batch.plan.found import Found

T = TypeVar("T")

Entries = Mapping[str, Entry]
"""The values of a cell by axis."""


@dataclass(frozen=True, slots=True)
class SizeUse:
    """A size as asked and as the model renders it."""

    model: str
    asked: Size
    rendered: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What tasks share, and what makes ids and names of the rest."""

    number: int
    model: Model
    entries: Entries
    fields: Mapping[str, object]
    """Of a task, by name."""
    guidance: float
    ids: Ids
    namer: names.Namer
    order: tuple[int, ...]
    """Its place in the plan: models are loaded once, and what takes longest comes first."""
    rules: tuple[Exclusion, ...]
    memory_place: Place
    """Where its memory setting was written."""
    objections: tuple[tuple[str, str], ...]
    """What is wrong with it, as axis and message: in every cell that has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a plan, each made when it is first met."""

    manifest: Manifest
    found: Found
    exclusions: Exclusions
    findings: Findings
    begun: str
    """When the run began, for the names."""
    sizes: dict[tuple[str, Size], SizeUse] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Memory settings that cannot be taken: they have no steps to compare."""
    _made: dict[tuple[object, ...], Setting] = field(init=False, default_factory=dict)
    _memory: dict[tuple[str, Size, str, bool], tuple[tuple[Call, ...], str]] = field(
        init=False, default_factory=dict
    )
    """Steps, and why there are none."""
    _ranks: dict[tuple[str, object], int] = field(init=False, default_factory=dict)

    def of(self, entries: Entries, *, with_rules: bool) -> Setting:
        """The setting of a cell; ``with_rules``: ``exclude`` counts for it. What is wrong with it is noted."""
        named = ((name, repr(entry.value)) for name, entry in entries.items() if name not in PICTURE_AXES)
        key = (with_rules, *named)
        if key not in self._made:
            self._made[key] = self._make(entries, with_rules=with_rules)
        setting = self._made[key]
        for name, message in setting.objections:
            self.findings.wrong(_place(entries, name), f"{name}: {message}")
        return setting

    def _make(self, entries: Entries, *, with_rules: bool) -> Setting:
        task, objections = self._prototype(entries)
        # What is loaded together stays together, each axis in the order in which its values appear.
        loaded = [
            self._ranks.setdefault((name, entries[name].value), len(self._ranks)) if name in entries else -1
            for name in ("model", "dtype", "vae", "lora")
        ]
        # A measurement goes from small to large: what does not fit tells what need not be tried.
        load = cost(task) if self.manifest.kind == RunKind.MEASURE else -cost(task)
        return Setting(
            number=len(self._made),
            model=self.found.models[entries["model"].value],
            entries=entries,
            fields={name: getattr(task, name) for name in task.__slots__ if name not in PICTURE_FIELDS},
            guidance=task.guidance,
            ids=Ids(task),
            namer=names.Namer(self.manifest.output.name, task, self.begun),
            order=(*loaded, load),
            rules=self.exclusions.of_setting(entries, task) if with_rules else (),
            memory_place=_place(entries, "memory"),
            objections=objections,
        )

    def _prototype(self, entries: Entries) -> tuple[Task, tuple[tuple[str, str], ...]]:
        """A task of the setting, without what its pictures differ in; and what is wrong with it."""
        model = self.found.models[entries["model"].value]
        extra = {
            name.removeprefix("extra."): item.value for name, item in entries.items() if EXTRA.fullmatch(name)
        }
        if pag.SCALE in FAMILIES[model.family].extra:
            extra = pag.settled(model, extra)
        size = _value(entries, "size", model.native)
        rendered = self.sizes.setdefault(
            (model.name, size), SizeUse(model.name, size, model.rendered(size))
        ).rendered
        steps, no_steps = self._memory_steps(entries, rendered, model, with_pag=bool(extra.get(pag.SCALE)))
        objections = [("size", message) for message in self._objections_to_size(model, size, rendered)]
        objections += [("memory", no_steps)] if no_steps else []
        task = Task(
            model=model.name,
            revision=model.stamp,
            dtype=precision.plainest(_value(entries, "dtype", model.dtype)),
            prompt="",
            seed=0,
            width=size.width,
            height=size.height,
            rendered_width=rendered.width,
            rendered_height=rendered.height,
            steps=_value(entries, "steps", model.steps),
            guidance=_value(entries, "guidance", model.guidance),
            scheduler=_value(entries, "scheduler", None),
            loras=self.found.loras.get(_value(entries, "lora", ()), ()),
            vae=found.vae if (found := self.found.vaes.get(_value(entries, "vae", ""))) else None,
            extra=tuple(sorted(extra.items())),
            # Elsewhere both change nothing, or are refused: what is the same picture has the same id.
            long_prompts=self.manifest.long_prompts if model.pipeline in CLIP_PIPELINES else "",
            prompt_syntax=self.manifest.prompt_syntax if model.pipeline in CLIP_PIPELINES else "",
            pixel_steps=profiles.pixel_steps(steps, rendered),
            memory=_value(entries, "memory", "auto"),
            memory_steps=steps,
            format=self.manifest.output.format,
            format_options=self.manifest.output.options,
            repeat=1 if self.manifest.kind == RunKind.MEASURE else None,
        )
        return task, tuple(objections)

    def _objections_to_size(self, model: Model, size: Size, rendered: Size) -> Iterator[str]:
        """Why a model may not be given a size; ``rendered`` is what it would render."""
        if too_large := formats.fits(self.manifest.output.format, size.width, size.height):
            yield too_large
        if rendered != size and not self.manifest.resize:
            yield (
                f"{model.name} cannot render {size}: it would render {rendered} and resample it; "
                f"write {rendered}, or allow it with resize: true; {where_rendered(model, size)}"
            )
        elif any(side % model.size_step for side in rendered):
            yield (
                f"the sides of {size} must be multiples of {model.size_step} for {model.name}; write "
                f"{_on_step(size, model.size_step)}"
            )

    def _memory_steps(
        self, entries: Entries, size: Size, model: Model, *, with_pag: bool
    ) -> tuple[tuple[Call, ...], str]:
        setting, place = _value(entries, "memory", "auto"), _place(entries, "memory")
        key = (setting, size, model.family, with_pag)
        if key not in self._memory:
            without = profiles.lacking(FAMILIES[model.family], pag=with_pag)
            try:
                self._memory[key] = profiles.resolve(setting, size, without), ""
            except ValueError as error:
                self.refused.add(setting)
                self._memory[key] = (), str(error)
            for note in profiles.notes(self._memory[key][0]):
                self.findings.remark(place, f"memory: {note}")
        return self._memory[key]


def _on_step(size: Size, step: int) -> Size:
    """The nearest size whose sides are multiples of a step."""
    return Size(*(max(1, round(side / step)) * step for side in size))


def _value(entries: Entries, name: str, default: T) -> T:
    value: T = entries[name].value if name in entries else default
    return value


def _place(entries: Entries, name: str) -> Place:
    return entries[name].place if name in entries else DEFAULT
