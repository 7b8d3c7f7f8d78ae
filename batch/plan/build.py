"""Manifest to plan: expand the grid, check it against the models, give every task its id, order them.

Pure: what has to be looked up (a model, a LoRA file, a random seed) comes in as functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batch.errors import ManifestError, ModelError, Problem
from batch.manifest.document import Place
from batch.manifest.schema import Entry, Manifest
from batch.manifest.values import RandomSeeds, Size, shown
from batch.plan import catalogue, fits, memory, names
from batch.plan.catalogue import Model
from batch.plan.identity import identify
from batch.records import Call, EncodeTask, Lora, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What the first run decided and every later one keeps: drawn seeds and resolved revisions."""

    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    revisions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The outside world, as functions of a name."""

    model: Callable[[str], Model]
    lora: Callable[[str, float], Lora]
    """A LoRA file with its content hash, at a strength."""
    draw: Callable[[int], tuple[int, ...]]
    """That many random seeds."""


@dataclass(frozen=True, slots=True)
class SizeUse:
    """A size as asked and as the model renders it."""

    model: str
    asked: Size
    rendered: Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Ordered tasks and how they came about."""

    name: str
    kind: str
    tasks: tuple[Task, ...]
    axes: tuple[tuple[str, int], ...]
    excluded: int
    duplicates: int
    sizes: tuple[SizeUse, ...]
    models: Mapping[str, Model]
    pins: Pins
    new_seeds: bool
    warnings: tuple[str, ...]

    @property
    def ids_known(self) -> bool:
        """False while a model's revision is not known, or seeds are not drawn: ids would change."""
        return not self.new_seeds and all(model.revision for model in self.models.values())

    @property
    def product(self) -> int:
        """Cells of the grid before anything is left out."""
        total = 1
        for _, count in self.axes:
            total *= count
        return total


DEFAULT = Place("", 0)


def build_plan(manifest: Manifest, lookup: Lookup, pins: Pins | None = None) -> Plan:
    """Make the plan. Raises :class:`ManifestError` with every problem, each at its file and line."""
    return _Builder(manifest, lookup, pins or Pins()).build()


@dataclass(slots=True)
class _Builder:
    manifest: Manifest
    lookup: Lookup
    pins: Pins
    problems: list[Problem] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    loras: dict[Any, tuple[Lora, ...]] = field(default_factory=dict)
    sizes: dict[tuple[str, Size], SizeUse] = field(default_factory=dict)
    settings: dict[tuple[str, Size], tuple[Call, ...]] = field(default_factory=dict)
    drawn: dict[str, tuple[int, ...]] = field(default_factory=dict)
    new_seeds: bool = False

    def build(self) -> Plan:
        axes = {name: self._pinned(name, entries) for name, entries in self.manifest.axes.items()}
        self._look_up(axes)
        self._stop_on_problems()
        excluded, used_rules = 0, set()
        cells: list[tuple[tuple[Any, ...], Task, Place]] = []
        for order, cell in enumerate(_cells(axes)):
            rule = self._excluded_by(cell)
            if rule is not None:
                excluded += 1
                used_rules.add(rule)
                continue
            task = self._task(cell)
            if task is not None:
                place = cell["memory"][1].place if "memory" in cell else DEFAULT
                cells.append((self._order(task, cell, order), task, place))
        self._stop_on_problems()
        kept, duplicates = self._without_duplicates(cells)
        self._stop_on_problems()
        kept.sort(key=lambda item: item[0])
        return Plan(
            name=self.manifest.name,
            kind=self.manifest.kind,
            tasks=tuple(names.assign((task for _, task in kept), self.manifest.output.name)),
            axes=tuple((name, len(entries)) for name, entries in axes.items()),
            excluded=excluded,
            duplicates=duplicates,
            sizes=tuple(self.sizes.values()),
            models=self.models,
            pins=Pins(
                seeds={**self.pins.seeds, **self.drawn},
                revisions={
                    **self.pins.revisions,
                    **{name: model.revision for name, model in self.models.items() if model.repo},
                },
            ),
            new_seeds=self.new_seeds,
            warnings=tuple(
                f"{rule.place.source}:{rule.place.line}: this exclude leaves nothing out"
                for index, rule in enumerate(self.manifest.exclude)
                if index not in used_rules
            ),
        )

    def _stop_on_problems(self) -> None:
        if self.problems:
            raise ManifestError(sorted(set(self.problems)))

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(*(place if place != DEFAULT else (self.manifest.source, 0)), message))

    def _pinned(self, name: str, entries: tuple[Entry, ...]) -> list[Entry]:
        """Axis values with random seeds replaced by those drawn at the first run."""
        result: list[Entry] = []
        draws = 0
        for entry in entries:
            if not isinstance(entry.value, RandomSeeds):
                result.append(entry)
                continue
            key, draws = f"{name}.{draws}", draws + 1
            seeds = tuple(self.pins.seeds.get(key, ()))
            if len(seeds) < entry.value.count:
                seeds += self.lookup.draw(entry.value.count - len(seeds))
                self.new_seeds = True
            self.drawn[key] = seeds
            result.extend(Entry(seed, entry.place) for seed in seeds[: entry.value.count])
        return result

    def _look_up(self, axes: Mapping[str, list[Entry]]) -> None:
        """Everything that can be wrong with a single value, before the grid is expanded."""
        for entry in axes.get("model", []):
            try:
                if entry.value not in self.models:
                    self.models[entry.value] = self.lookup.model(entry.value)
            except ModelError as error:
                self._problem(entry.place, f"model: {error}")
        for entry in axes.get("lora", []):
            try:
                self.loras[entry.value] = tuple(self.lookup.lora(path, scale) for path, scale in entry.value)
            except ModelError as error:
                self._problem(entry.place, f"lora: {error}")
        for entry in axes.get("dtype", []):
            if entry.value not in catalogue.DTYPES:
                possible = ", ".join(catalogue.DTYPES)
                self._problem(entry.place, f"dtype: {shown(entry.value)} is unknown; possible are {possible}")

    def _excluded_by(self, cell: Mapping[str, tuple[int, Entry]]) -> int | None:
        for index, rule in enumerate(self.manifest.exclude):
            if all(cell[name][1].value in wanted for name, wanted in rule.conditions.items()):
                return index
        return None

    def _task(self, cell: Mapping[str, tuple[int, Entry]]) -> Task | None:
        def value(name: str, default: Any) -> Any:
            return cell[name][1].value if name in cell else default

        def place(name: str) -> Place:
            return cell[name][1].place if name in cell else DEFAULT

        model = self.models[cell["model"][1].value]
        for name, message in fits.objections(model, {name: entry.value for name, (_, entry) in cell.items()}):
            self._problem(place(name), f"{name}: {message}")
        size = value("size", model.native)
        use = self._size_use(model, size, place("size"))
        setting = value("memory", "auto")
        steps = self._memory_steps(setting, use.rendered, place("memory"))
        prompt = cell["prompt"][1]
        return identify(
            Task(
                model=model.name,
                revision=model.revision,
                dtype=value("dtype", model.dtype),
                prompt=prompt.value,
                negative_prompt=value("negative_prompt", ""),
                seed=value("seed", 0),
                width=size.width,
                height=size.height,
                rendered_width=use.rendered.width,
                rendered_height=use.rendered.height,
                steps=value("steps", model.steps),
                guidance=value("guidance", model.guidance),
                scheduler=value("scheduler", None),
                loras=self.loras.get(value("lora", ()), ()),
                extra=tuple(
                    sorted((name[6:], entry.value) for name, (_, entry) in cell.items() if name[:6] == "extra.")
                ),
                pixel_steps=memory.pixel_steps(steps, use.rendered),
                memory=setting,
                memory_steps=steps,
                format=self.manifest.output.format,
                source=f"{prompt.place.source}:{prompt.place.line}",
            )
        )

    def _size_use(self, model: Model, size: Size, place: Place) -> SizeUse:
        key = (model.name, size)
        if key not in self.sizes:
            use = SizeUse(model.name, size, model.rendered(size))
            self.sizes[key] = use
            if use.rendered != size and not self.manifest.resize:
                self._problem(
                    place,
                    f"size: {model.name} cannot render {size}: it would render {use.rendered} and resample it; "
                    f"write {use.rendered}, or allow it with resize: true",
                )
            elif any(side % model.size_step for side in use.rendered):
                self._problem(place, f"size: the sides of {size} must be multiples of {model.size_step}")
        return self.sizes[key]

    def _memory_steps(self, setting: str, size: Size, place: Place) -> tuple[Call, ...]:
        key = (setting, size)
        if key not in self.settings:
            self.settings[key] = ()
            try:
                self.settings[key] = memory.resolve(setting, size)
            except ValueError as error:
                self._problem(place, f"memory: {error}")
        return self.settings[key]

    def _order(self, task: Task, cell: Mapping[str, tuple[int, Entry]], order: int) -> tuple[Any, ...]:
        """By what a session has to be loaded for, then heavier first, then by seed before prompt.

        A night cut short then has every prompt once, and a size that does not fit fails at the start.
        """
        loaded = tuple(cell[name][0] if name in cell else 0 for name in ("model", "dtype", "lora"))
        cost = task.rendered_width * task.rendered_height * task.steps * (2 if task.guidance > 1 else 1)
        return (*loaded, -cost, cell["seed"][0] if "seed" in cell else 0, order)

    def _without_duplicates(
        self, cells: list[tuple[tuple[Any, ...], Task, Place]]
    ) -> tuple[list[tuple[tuple[Any, ...], Task]], int]:
        """The same task twice is rendered once; two memory settings that give one picture are a mistake."""
        first: dict[str, Task] = {}
        kept = []
        for order, task, place in cells:
            known = first.setdefault(task.id, task)
            if known is task:
                kept.append((order, task))
            elif known.memory != task.memory:
                self._problem(
                    place,
                    f"memory: '{known.memory}' and '{task.memory}' give the same picture at {task.size}, so "
                    "one of them would never run; keep one (comparing settings is what kind: measure is for)",
                )
        return kept, len(cells) - len(kept)


def _cells(axes: Mapping[str, list[Entry]]) -> Iterator[dict[str, tuple[int, Entry]]]:
    """Every combination, each value with its position on its axis."""
    for combination in itertools.product(*(enumerate(entries) for entries in axes.values())):
        yield dict(zip(axes, combination, strict=True))


def encode_tasks(task: Task, family: str, device: str) -> tuple[EncodeTask, ...]:
    """The texts a task needs embedded: its prompt, and the negative one where it counts.

    None where the pipeline is called whole. The key names everything an embedding depends on; the kind of
    device is part of it, because a CPU and a GPU differ in the last bits and a resumed run must not mix them.
    """
    rule = catalogue.FAMILIES[family]
    if not rule.staged:
        return ()
    texts = [_encode_task(task, rule, device, negative=False)]
    if _uses_negative(task, rule):
        texts.append(_encode_task(task, rule, device, negative=True))
    return tuple(texts)


def _uses_negative(task: Task, rule: catalogue.Family) -> bool:
    if rule.negative == "guidance":
        return task.guidance > 1
    scale = dict(task.extra).get(rule.negative)
    return bool(task.negative_prompt) and isinstance(scale, int | float) and scale > 1


def _encode_task(task: Task, rule: catalogue.Family, device: str, *, negative: bool) -> EncodeTask:
    stages = ("encode", "encode-negative" if negative else "encode-prompt")
    arguments = tuple(item for item in task.extra if rule.extra.get(item[0]) in stages)
    loras = tuple(lora for lora in task.loras if lora.in_text)
    text = task.negative_prompt if negative else task.prompt
    kind = device.partition(":")[0]
    parts: list[Any] = ["embeds-1", kind, task.model, task.revision, task.dtype, text, negative, arguments]
    if loras:  # left out where there are none, so that keys stay what they were
        parts.append([(lora.sha256, lora.scale) for lora in loras])
    return EncodeTask(
        key=catalogue.digest(parts),
        model=task.model,
        dtype=task.dtype,
        text=text,
        negative=negative,
        arguments=arguments,
        loras=loras,
    )
