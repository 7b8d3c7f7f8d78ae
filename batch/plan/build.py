"""Manifest to plan: expand the grids, check them against the models, give every task its id, order them.

Pure: what has to be looked up (a model, a LoRA file, a random seed) comes in as functions. A million
tasks are a plan too, so whatever tasks share (a model at a size with its settings) is worked out once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from typing import Any

from batch.base.collector import without_gc
from batch.base.errors import ManifestError, ModelError, Problem
from batch.catalogue import families, pag, precision
from batch.catalogue.model import Model
from batch.catalogue.repositories import covers
from batch.manifest import formats
from batch.manifest.axes import EXTRA
from batch.manifest.document import Place
from batch.manifest.prompts import styled
from batch.manifest.schema import Entry, Grid, Manifest
from batch.manifest.values import Size
from batch.manifest.variants import Template
from batch.memory import profiles
from batch.memory.steps import TEXTS
from batch.plan import advice, batching, checks, measuring, names
from batch.plan.batching import Choice
from batch.plan.estimate import cost
from batch.plan.expand import PICTURE_AXES, Cells, Pinner, Pins, Texts, cells
from batch.plan.identity import Ids
from batch.records import Call, EncodeTask, Lora, Task


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
    models: Mapping[str, Model]
    pins: Pins
    factors: tuple[tuple[tuple[str, ...], int], ...] = ()
    """What multiplies in the grid, axes that move together as one; empty for a table."""
    rows: int = 0
    """Rows of the table, each a grid of its own."""
    cells: int = 0
    """Combinations of the grid or of all rows, before anything is left out."""
    included: int = 0
    excluded: int = 0
    duplicates: int = 0
    repeats: int = 0
    """Of a measurement: how often each picture is measured."""
    pictures: int = 0
    """Of the grid: as many as tasks, save in a measurement, which repeats them."""
    settings: int = 0
    """Of a measurement: each has a fresh process in every pass."""
    sizes: tuple[SizeUse, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)
    """Batches and compiling, by :func:`batch.plan.batching.key`."""
    new_draws: bool = False
    """Seeds or texts were drawn that are not pinned yet."""
    loras_known: bool = True
    """False while one of the Hub is not on this machine."""
    warnings: tuple[str, ...] = ()

    @property
    def passes(self) -> int:
        """Of a measurement: how often every setting has its turn."""
        return min(measuring.PASSES, self.repeats)

    def images_per_call(self, task: Task) -> int:
        """The most images that go into one call of the model with a task."""
        choice = self.choices.get(batching.key(task))
        return choice.numerics.batch if choice else 1

    @property
    def ids_known(self) -> bool:
        """False while a model's revision or a LoRA is not known, or something is drawn anew: ids would change."""
        known = not self.new_draws and self.loras_known
        return known and all(model.revision for model in self.models.values())


DEFAULT = Place("", 0)

MAX_TASKS = 5_000_000
"""A slip in a range, not a job: this many take two minutes and 3 GiB to plan."""


def build_plan(manifest: Manifest, lookup: Lookup, pins: Pins | None = None) -> Plan:
    """Make the plan. Raises :class:`ManifestError` with every problem, each at its file and line."""
    with without_gc():
        return _Builder(manifest, lookup, pins or Pins()).build()


@dataclass(frozen=True, slots=True)
class _Rule:
    """An entry of ``exclude`` that may match, with the conditions that are left to check."""

    index: int
    conditions: Mapping[str, frozenset[Any]]


@dataclass(frozen=True, slots=True)
class _Setting:
    """What tasks share that differ in prompt, negative prompt, style and seed only."""

    number: int
    model: Model
    entries: Mapping[str, Entry]
    fields: Mapping[str, Any]
    ids: Ids
    namer: names.Namer
    order: tuple[Any, ...]
    rules: tuple[_Rule, ...]
    place: Place
    """Where its memory setting was written."""


@dataclass(slots=True)
class _Builder:
    manifest: Manifest
    lookup: Lookup
    pins: Pins
    problems: list[Problem] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    loras: dict[Any, tuple[Lora, ...]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    """Commits of LoRAs by the name they were given."""
    sizes: dict[tuple[str, Size], SizeUse] = field(default_factory=dict)
    memory: dict[tuple[str, Size, str, bool], tuple[Call, ...]] = field(default_factory=dict)
    no_memory: set[str] = field(default_factory=set)
    """Memory settings that are refused: they have no steps to compare."""
    settings: dict[tuple[Any, ...], _Setting] = field(default_factory=dict)
    rules: list[_Rule] = field(default_factory=list)
    fitting: set[tuple[int, bool]] = field(default_factory=set)
    without_effect: dict[str, None] = field(default_factory=dict)
    ranks: dict[tuple[str, Any], int] = field(default_factory=dict)
    first: dict[str, Task] = field(default_factory=dict)
    buckets: dict[tuple[Any, ...], list[Task]] = field(default_factory=dict)
    used_rules: set[int] = field(default_factory=set)
    cells: int = 0
    included: int = 0
    excluded: int = 0
    duplicates: int = 0

    def build(self) -> Plan:
        pinner = Pinner(self.pins, self.lookup.draw, self.manifest.random_variants)
        grids = [pinner.resolved(grid) for grid in self.manifest.grids]
        self.rules = [
            _Rule(index, {name: _wanted(values, pinner) for name, values in rule.conditions.items()})
            for index, rule in enumerate(self.manifest.exclude)
        ]
        cells_at_most = sum(math.prod(len(factor.rows) for factor in grid.factors) for grid in grids)
        if cells_at_most > MAX_TASKS:
            self._problem(
                DEFAULT, f"the grid has {cells_at_most:,} combinations; at most {MAX_TASKS:,} are planned"
            )
            self._stop_on_problems()
        self._look_up(grids)
        for grid in grids:
            for group in cells(grid):
                # Of a model that is not there nothing more can be said; the problem is noted already.
                if group.setting["model"].value in self.models:
                    self._add_cells(group, grid)
        self._stop_on_problems()
        self.first.clear()
        self.without_effect |= dict.fromkeys(self._idle_names(grids))
        tasks = [task for key in sorted(self.buckets) for task in self.buckets[key]]
        if self.measures:
            return self._measured(tasks, grids, pinner)
        names.without_clashes(tasks)
        return self._plan(tasks, grids, pinner)

    @property
    def measures(self) -> bool:
        return self.manifest.kind == measuring.MEASURE

    def _measured(self, pictures: list[Task], grids: list[Grid], pinner: Pinner) -> Plan:
        repeats, batch = self.manifest.repeats, self.manifest.run.batch
        if len(pictures) * (repeats + measuring.PASSES) > MAX_TASKS:
            self._problem(DEFAULT, f"{len(pictures):,} images with {repeats} repeats are too many to measure")
            self._stop_on_problems()
        assert batch != "auto"  # the manifest's reader refuses it
        tasks = measuring.expanded(pictures, repeats, batch, self.manifest.output.name)
        settings = len({measuring.setting(task) for task in pictures})
        return replace(
            self._plan(tasks, grids, pinner), pictures=len(pictures), repeats=repeats, settings=settings
        )

    def _plan(self, tasks: list[Task], grids: list[Grid], pinner: Pinner) -> Plan:
        main = next((grid for grid in grids if grid.kind == "grid"), None)
        return Plan(
            name=self.manifest.name,
            kind=self.manifest.kind,
            tasks=tuple(tasks),
            pictures=len(tasks),
            factors=tuple((factor.names, len(factor.rows)) for factor in main.factors) if main else (),
            rows=sum(grid.kind == "row" for grid in grids),
            cells=self.cells,
            included=self.included,
            excluded=self.excluded,
            duplicates=self.duplicates,
            sizes=tuple(self.sizes.values()),
            models=self.models,
            pins=pinner.pins(
                {name: model.revision for name, model in self.models.items() if model.repo} | self.revisions
            ),
            new_draws=pinner.new,
            loras_known=all(lora.known for loras in self.loras.values() for lora in loras),
            warnings=tuple(self._warnings()),
        )

    def _unused_rules(self) -> Iterator[str]:
        for index, rule in enumerate(self.manifest.exclude):
            if index not in self.used_rules:
                yield f"{rule.place.source}:{rule.place.line}: this exclude leaves nothing out"

    def _idle_permissions(self) -> Iterator[str]:
        """What is allowed for models that no grid has: a slip in the name, which would refuse the right one."""
        for key, places in self.manifest.permissions.items():
            for name, place in places.items():
                if not any(covers([name], model) for model in self.models):
                    text = f"{key}: no model of the grid is called '{name}'; write it as the grid does"
                    yield str(Problem(*place, text))

    def _idle_names(self, grids: list[Grid]) -> Iterator[str]:
        """Extra arguments that a template has and no grid sets: all names read the same there."""
        given = {name for grid in grids for name in (*grid.names(), *grid.own_names())}
        for name in dict.fromkeys(re.findall(r"\{(extra\.\w+)\}", self.manifest.output.name)):
            if name not in given:
                place = f"{self.manifest.source}: output.name"
                yield f"{place}: {name} is set nowhere, so {{{name}}} tells nothing apart"

    def _warnings(self) -> Iterator[str]:
        yield from self.manifest.warnings
        yield from (f"{name}: {note}" for name, model in self.models.items() for note in model.notes)
        yield from self.without_effect
        yield from self._idle_permissions()
        yield from self._unused_rules()

    def _stop_on_problems(self) -> None:
        if self.problems:
            raise ManifestError(sorted(set(self.problems)))

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(*(place if place != DEFAULT else (self.manifest.source, 0)), message))

    # What is named is looked up before the grids are expanded

    def _look_up(self, grids: list[Grid]) -> None:
        """Everything that can be wrong with a single value."""
        checks: dict[str, Callable[[Entry], None]] = {
            "model": self._find_model,
            "prompt": self._check_prompt,
            "lora": self._find_lora,
        }
        for name, check in checks.items():
            for grid in grids:
                for entry in grid.entries(name):
                    check(entry)

    def _check_prompt(self, entry: Entry) -> None:
        if not entry.value.strip():
            self._problem(entry.place, "prompt: one of its alternatives is empty, and nothing stands around it")

    def _find_model(self, entry: Entry) -> None:
        try:
            if entry.value not in self.models:
                self.models[entry.value] = self.lookup.model(entry.value)
        except ModelError as error:
            self._problem(entry.place, f"model: {error}")

    def _find_lora(self, entry: Entry) -> None:
        try:
            if entry.value not in self.loras:
                found = tuple(self.lookup.lora(path, scale) for path, scale in entry.value)
                self.loras[entry.value] = found
                names = [path for path, _ in entry.value]
                self.revisions |= {
                    path: lora.commit for path, lora in zip(names, found, strict=True) if lora.commit
                }
        except ModelError as error:
            self._problem(entry.place, f"lora: {error}")

    # Cells to tasks

    def _add_cells(self, group: Cells, grid: Grid) -> None:
        setting = self._setting(group.setting, with_rules=grid.kind != "include")
        for texts in group.texts():
            if grid.kind == "include":
                self.included += len(texts.seeds)
            else:
                self.cells += len(texts.seeds)
            self._add(setting, texts)

    def _add(self, setting: _Setting, texts: Texts) -> None:
        entry = texts.entries["prompt"]
        negative_entry, style_entry = texts.entries.get("negative_prompt"), texts.entries.get("style")
        styles = style_entry.value if style_entry else ()
        written = negative_entry.value if negative_entry else ""
        prompt, negative = styled(entry.value, written, styles, self.manifest.styles)
        rules = [rule for rule in setting.rules if _may_match(rule, entry.value, written, styles)]
        fields = dict(
            setting.fields,
            prompt=prompt,
            negative_prompt=negative,
            style=" + ".join(styles),
            source=f"{entry.place.source}:{entry.place.line}",
        )
        for index, given in texts.seeds:
            seed = 0 if given is None else given
            if rules and self._excluded(rules, seed):
                continue
            self._check_fit(setting, texts, negative)
            task_id, picture_id = setting.ids.of(negative, prompt, seed)
            name = setting.namer.of(
                task_id, prompt=prompt, negative_prompt=negative, style=fields["style"], seed=seed
            )
            task = Task(**fields, id=task_id, picture_id=picture_id, seed=seed, name=name)
            known = self.first.setdefault(task_id, task)
            if known is task:
                self.buckets.setdefault((setting.order, index), []).append(task)
            else:
                self._same(known, task, setting.place)

    def _check_fit(self, setting: _Setting, texts: Texts, negative: str) -> None:
        """Whether the model takes what is asked of it; once for a setting with and without negative prompt."""
        key = (setting.number, bool(negative))
        if key in self.fitting:
            return
        self.fitting.add(key)
        given = {name: entry.value for name, entry in setting.entries.items() if name not in PICTURE_AXES}
        given["negative_prompt"] = negative
        for name, message in checks.idle(setting.model, given, setting.fields["guidance"]):
            place = self._place(setting, texts, name)
            self.without_effect[str(Problem(*place, message))] = None
        for name, message in checks.objections(setting.model, given):
            self._problem(self._place(setting, texts, name), f"{name}: {message}")
        for name, message in advice.warnings(setting.model, given):
            place = self._place(setting, texts, name)
            self.without_effect[str(Problem(*place, f"{name}: {message}"))] = None

    def _place(self, setting: _Setting, texts: Texts, name: str) -> Place:
        """Where a value was written; a negative prompt may come from a style."""
        entry = setting.entries.get(name) or texts.entries.get(name)
        if entry is None and name == "negative_prompt":
            entry = texts.entries.get("style")
        entry = entry or setting.entries["model"]  # whatever is said of a value that is not there
        return entry.place

    def _excluded(self, rules: list[_Rule], seed: int) -> bool:
        for rule in rules:
            if seed in rule.conditions.get("seed", (seed,)):
                self.excluded += 1
                self.used_rules.add(rule.index)
                return True
        return False

    def _same(self, known: Task, task: Task, place: Place) -> None:
        """The same task twice is rendered once; two memory settings that give one picture are a mistake."""
        self.duplicates += 1
        if known.memory != task.memory and not self.no_memory & {known.memory, task.memory}:
            self._problem(
                place,
                f"memory: '{known.memory}' and '{task.memory}' give the same picture at {task.size}, so "
                "one of them would never run; keep one, or compare what they cost with kind: measure",
            )

    # Settings

    def _setting(self, entries: Mapping[str, Entry], *, with_rules: bool) -> _Setting:
        key = (
            with_rules,
            *((name, repr(entry.value)) for name, entry in entries.items() if name not in PICTURE_AXES),
        )
        if key not in self.settings:
            self.settings[key] = self._new_setting(entries, with_rules=with_rules)
        return self.settings[key]

    def _new_setting(self, entries: Mapping[str, Entry], *, with_rules: bool) -> _Setting:
        task = self._prototype(entries)
        varying = ("id", "picture_id", "prompt", "negative_prompt", "style", "source", "seed", "name")
        shared = {name: getattr(task, name) for name in task.__slots__ if name not in varying}
        loaded = tuple(self._rank(name, entries) for name in ("model", "dtype", "lora"))
        rules = self.rules if with_rules else []
        return _Setting(
            number=len(self.settings),
            model=self.models[entries["model"].value],
            entries=entries,
            fields=shared,
            ids=Ids(task),
            namer=names.Namer(self.manifest.output.name, task),
            # A measurement goes from small to large: what does not fit tells what need not be tried.
            order=(*loaded, cost(task) if self.measures else -cost(task)),
            rules=tuple(filter(None, (_left(rule, entries, task) for rule in rules))),
            place=entries["memory"].place if "memory" in entries else DEFAULT,
        )

    def _rank(self, name: str, entries: Mapping[str, Entry]) -> int:
        """The order of a value on its axis: by first appearance."""
        if name not in entries:
            return -1
        return self.ranks.setdefault((name, entries[name].value), len(self.ranks))

    def _prototype(self, entries: Mapping[str, Entry]) -> Task:
        """A task of the setting, without what its pictures differ in."""

        def value(name: str, default: Any) -> Any:
            return entries[name].value if name in entries else default

        def place(name: str) -> Place:
            return entries[name].place if name in entries else DEFAULT

        model = self.models[entries["model"].value]
        extra = {name[6:]: entry.value for name, entry in entries.items() if EXTRA.fullmatch(name)}
        if pag.SCALE in families.FAMILIES[model.family].extra:
            extra = pag.settled(model, extra)
        size = value("size", model.native)
        use = self._size_use(model, size, place("size"))
        setting = value("memory", "auto")
        steps = self._memory_steps(
            setting, use.rendered, model, with_pag=bool(extra.get(pag.SCALE)), place=place("memory")
        )
        guidance = value("guidance", model.guidance)
        if "split_guidance" in setting and not families.FAMILIES[model.family].guides(guidance):
            said = f"memory: split_guidance has nothing to split at guidance {guidance:g}"
            self.without_effect[str(Problem(*place("memory"), said))] = None
        output = self.manifest.output
        return Task(
            model=model.name,
            revision=model.stamp,
            dtype=precision.plainest(value("dtype", model.dtype)),
            prompt="",
            seed=0,
            width=size.width,
            height=size.height,
            rendered_width=use.rendered.width,
            rendered_height=use.rendered.height,
            steps=value("steps", model.steps),
            guidance=guidance,
            scheduler=value("scheduler", None),
            loras=self.loras.get(value("lora", ()), ()),
            extra=tuple(sorted(extra.items())),
            pixel_steps=profiles.pixel_steps(steps, use.rendered),
            memory=setting,
            memory_steps=steps,
            format=output.format,
            format_options=output.options,
            repeat=1 if self.measures else None,
        )

    def _size_use(self, model: Model, size: Size, place: Place) -> SizeUse:
        key = (model.name, size)
        if key not in self.sizes:
            use = SizeUse(model.name, size, model.rendered(size))
            self.sizes[key] = use
            too_large = formats.fits(self.manifest.output.format, size.width, size.height)
            if too_large:
                self._problem(place, f"size: {too_large}")
            if use.rendered != size and not self.manifest.resize:
                self._problem(
                    place,
                    f"size: {model.name} cannot render {size}: it would render {use.rendered} and resample it; "
                    f"write {use.rendered}, or allow it with resize: true",
                )
            elif any(side % model.size_step for side in use.rendered):
                self._problem(place, f"size: the sides of {size} must be multiples of {model.size_step}")
        return self.sizes[key]

    def _memory_steps(
        self, setting: str, size: Size, model: Model, place: Place, *, with_pag: bool
    ) -> tuple[Call, ...]:
        key = (setting, size, model.family, with_pag)
        if key not in self.memory:
            self.memory[key] = ()
            without = profiles.lacking(model.family, families.FAMILIES[model.family], pag=with_pag)
            try:
                self.memory[key] = profiles.resolve(setting, size, without)
            except ValueError as error:
                self.no_memory.add(setting)
                self._problem(place, f"memory: {error}")
            for note in profiles.notes(self.memory[key]):
                self.without_effect[str(Problem(*place, f"memory: {note}"))] = None
        return self.memory[key]


def _wanted(values: tuple[Any, ...], pinner: Pinner) -> frozenset[Any]:
    """Values of a condition; a prompt with alternatives stands for each of its texts."""
    found: list[Any] = []
    for value in values:
        found.extend(pinner.texts(value) if isinstance(value, Template) else [value])
    return frozenset(found)


def _left(rule: _Rule, entries: Mapping[str, Entry], task: Task) -> _Rule | None:
    """The rule with the conditions that a setting does not answer; None when it does not match."""
    defaults = {
        "size": Size(task.width, task.height),
        "steps": task.steps,
        "guidance": task.guidance,
        "scheduler": None,
        "memory": "auto",
        "dtype": task.dtype,
        "lora": (),
    }
    left = {}
    for name, wanted in rule.conditions.items():
        if name in PICTURE_AXES:
            left[name] = wanted
        elif _value(entries.get(name), defaults.get(name, _MISSING)) not in wanted:
            return None
    return replace(rule, conditions=left)


_MISSING = object()


def _value(entry: Entry | None, default: Any) -> Any:
    return default if entry is None else entry.value


def _may_match(rule: _Rule, prompt: str, negative: str, style: tuple[str, ...]) -> bool:
    """Whether the texts of a rule match; its seeds are checked one by one."""
    actual = {"prompt": prompt, "negative_prompt": negative, "style": style}
    return all(actual[name] in wanted for name, wanted in rule.conditions.items() if name != "seed")


def encode_tasks(task: Task, family: str, device: str) -> tuple[EncodeTask, ...]:
    """The texts a task needs embedded: its prompt, and the negative one where it counts.

    None where the pipeline is called whole. The key names everything an embedding depends on. The version of
    transformers is part of it, because it chooses how attention is computed; so is the kind of device, because a
    CPU and a GPU differ in the last bits and a resumed run must not mix them. How memory is saved on the way is
    not, save for ``text_encoder_cpu``.
    """
    rule = families.FAMILIES[family]
    if not rule.staged:
        return ()
    texts = [_encode_task(task, rule, device, negative=False)]
    if _uses_negative(task, rule):
        texts.append(_encode_task(task, rule, device, negative=True))
    return tuple(texts)


def _uses_negative(task: Task, rule: families.Family) -> bool:
    if rule.negative == "guidance":
        return rule.guides(task.guidance)
    scale = dict(task.extra).get(rule.negative)
    return bool(task.negative_prompt) and isinstance(scale, int | float) and scale > 1


_KEY = "embeds-2"
"""Another number where the same text gives other numbers: 2 bounds Gemma-2's attention scores."""


@cache
def _transformers_version() -> str:
    """Its version decides how attention is computed; "" where it is not installed, and nothing is encoded."""
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return ""


def _encode_task(task: Task, rule: families.Family, device: str, *, negative: bool) -> EncodeTask:
    stages = ("encode", "everywhere", "encode-negative" if negative else "encode-prompt")
    arguments = tuple(item for item in task.extra if rule.extra.get(item[0]) in stages)
    loras = tuple(lora for lora in task.loras if lora.in_text)
    text = (task.negative_prompt or rule.empty_negative) if negative else task.prompt
    steps = tuple(step for step in task.memory_steps if step.name in TEXTS)
    on_cpu = any(step.name == "text_encoder_cpu" for step in steps)
    kind = "cpu" if on_cpu else device.partition(":")[0]
    library = _transformers_version()
    parts: list[Any] = [_KEY, library, kind, task.model, task.revision, task.dtype, text, negative, arguments]
    if loras:  # left out where there are none, so that keys stay what they were
        parts.append([(lora.sha256, lora.scale) for lora in loras])
    return EncodeTask(
        key=families.digest(parts),
        model=task.model,
        dtype=task.dtype,
        text=text,
        negative=negative,
        arguments=arguments,
        loras=loras,
        memory_steps=steps,
    )
