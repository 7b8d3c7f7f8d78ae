"""Cells of the grids to tasks: each is checked against its model, gets its id and its place, and is made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch.manifest.document import Place
from batch.manifest.limits import Expansion
from batch.manifest.schema import Grid, Manifest
from batch.manifest.styles import styled
from batch.plan import advice, checks
from batch.plan.alike import PICTURE_AXES
from batch.plan.expand import cells
from batch.plan.pins import PromptSeed
from batch.plan.syntax import Syntax
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.exclude import Exclusions
    from batch.plan.expand import PromptSeeds
    from batch.plan.findings import Findings
    from batch.plan.settings import Entries, Setting, Settings


@dataclass(slots=True, kw_only=True)
class TaskMaker:
    """Makes the tasks of one grid after the other, and counts what became of cells."""

    manifest: Manifest
    settings: Settings
    exclusions: Exclusions
    findings: Findings
    cells: int = 0
    """Of the grid or of rows, what is left out among them."""
    included: int = 0
    duplicates: int = 0
    syntax: Syntax = field(init=False)
    _checked: dict[tuple[int, bool, bool], tuple[tuple[str, str], ...]] = field(init=False, default_factory=dict)
    """What is wrong with a setting, with and without negative prompt, and one that is written, not a style's."""
    _expansion: Expansion = field(init=False, default_factory=Expansion)
    """Of styles."""
    _first: dict[str, Task] = field(init=False, default_factory=dict)
    _buckets: dict[tuple[tuple[int, ...], int], list[Task]] = field(init=False, default_factory=dict)
    """By the order of their setting and of their seed."""

    def __post_init__(self) -> None:
        self.syntax = Syntax(self.manifest, self.findings)

    def ordered(self) -> list[Task]:
        """The tasks in the order in which they are rendered. To be asked last."""
        self._first.clear()
        return [task for key in sorted(self._buckets) for task in self._buckets[key]]

    def add(self, grid: Grid) -> None:
        """Make the tasks of a grid whose random parts are resolved."""
        included = grid.kind == "include"
        for group in cells(grid):
            # Of a model that is not there nothing more can be said; the problem is noted already.
            if group.setting["model"].value not in self.settings.found.models:
                continue
            setting = self.settings.of(group.setting, with_rules=not included)
            for prompt in group.prompts():
                if included:
                    self.included += len(prompt.seeds)
                else:
                    self.cells += len(prompt.seeds)
                self._add(setting, {**group.setting, **prompt.entries}, prompt)

    def _add(self, setting: Setting, entries: Entries, given: PromptSeeds) -> None:
        """``entries`` are all values of these cells but for their seeds, each where it was written for them."""
        entry = given.entries["prompt"]
        negative_entry, style_entry = given.entries.get("negative_prompt"), given.entries.get("style")
        styles = style_entry.value if style_entry else ()
        written = negative_entry.value if negative_entry else ""
        texts = self._texts(given, written, styles)
        if texts is None:
            return
        prompt, negative = texts
        rules = [rule for rule in setting.rules if rule.may_match(entry.value, written, styles)]
        style = " + ".join(styles)
        fields: dict[str, Any] = dict(
            setting.fields,
            prompt=prompt,
            negative_prompt=negative,
            prompt_template=entry.template,
            style=style,
            source=str(entry.place),
        )
        for index, drawn in given.seeds:
            seed = drawn.of(entry.value) if isinstance(drawn, PromptSeed) else drawn or 0
            if rules and self.exclusions.match(rules, seed):
                continue
            self._check(setting, entries, negative)
            if self.syntax.acts:
                self.syntax.check(setting.model, prompt, entry.place)
                self.syntax.check(setting.model, negative, _place(entries, "negative_prompt"))
            task_id, picture_id = setting.ids.of(negative, prompt, seed)
            name = setting.namer.of(task_id, prompt=prompt, negative_prompt=negative, style=style, seed=seed)
            task = Task(**fields, id=task_id, picture_id=picture_id, seed=seed, name=name)
            known = self._first.setdefault(task_id, task)
            if known is task:
                self._buckets.setdefault((setting.order, index), []).append(task)
                continue
            # The same task twice is rendered once; two memory settings that give one picture are a mistake.
            self.duplicates += 1
            if known.memory != task.memory and not self.settings.refused & {known.memory, task.memory}:
                self.findings.wrong(
                    setting.memory_place,
                    f"memory: '{known.memory}' and '{task.memory}' give the same picture at {task.size}, so "
                    "one of them would never run; keep one, or compare what they cost with kind: measure",
                )

    def _texts(self, given: PromptSeeds, negative: str, styles: Sequence[str]) -> tuple[str, str] | None:
        """Prompt and negative prompt under styles; None where a style makes too much of them."""
        text: str = given.entries["prompt"].value
        if not styles:
            return text, negative
        try:
            texts = styled(text, negative, styles, self.manifest.styles)
            self._expansion.add(letters=len(texts[0]) + len(texts[1]))
        except ValueError as error:
            self.findings.wrong(given.entries["style"].place, f"style: {error}")
            return None
        return texts

    def _check(self, setting: Setting, entries: Entries, negative: str) -> None:
        """Whether the model takes what is asked of it; looked at once a setting, noted wherever it stands."""
        written = entries.get("negative_prompt")
        key = (setting.number, bool(negative), written is not None and bool(written.value))
        if key not in self._checked:
            self._checked[key] = self._objections(setting, entries, negative, styled=key[1] and not key[2])
        for name, message in self._checked[key]:
            self.findings.wrong(_place(entries, name), f"{name}: {message}")

    def _objections(
        self, setting: Setting, entries: Entries, negative: str, *, styled: bool
    ) -> tuple[tuple[str, str], ...]:
        """As axis and message; what only has no effect is told right away."""
        asked = {name: entry.value for name, entry in entries.items() if name not in PICTURE_AXES}
        asked |= {"negative_prompt": negative, "style": styled}
        asked["vae"] = self.settings.found.vaes.get(str(asked.get("vae", "")))
        for name, message in checks.idle(setting.model, asked, setting.guidance):
            self.findings.remark(_place(entries, name), message)
        for name, message in advice.warnings(setting.model, asked):
            self.findings.remark(_place(entries, name), f"{name}: {message}")
        return tuple(checks.objections(setting.model, asked))


def _place(entries: Entries, name: str) -> Place:
    """Where a value was written; a negative prompt may come from a style."""
    entry = entries.get(name)
    if entry is None and name == "negative_prompt":
        entry = entries.get("style")
    entry = entry or entries["model"]  # whatever is said of a value that is not there
    return entry.place
