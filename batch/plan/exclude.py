"""What a manifest's ``exclude`` leaves out.

A rule is asked in three steps, so that a million cells cost little: what a setting answers is settled once for
the setting, texts once for a prompt, and only seeds for every cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from batch.manifest.alternatives import Template
from batch.manifest.schema import Entry, Rule
from batch.manifest.values import Size
from batch.plan.alike import PICTURE_AXES
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.pins import Pinner


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An entry of ``exclude`` that may match, with the conditions that are left to check."""

    index: int
    conditions: Mapping[str, frozenset[object]]

    def left(self, entries: Mapping[str, Entry], task: Task) -> Exclusion | None:
        """With the conditions that a setting does not answer; None when it does not match."""
        defaults: dict[str, object] = {
            "size": Size(task.width, task.height),
            "steps": task.steps,
            "guidance": task.guidance,
            "scheduler": None,
            "memory": "auto",
            "dtype": task.dtype,
            "vae": "",
            "lora": (),
        }
        left = {}
        for name, wanted in self.conditions.items():
            if name in PICTURE_AXES:
                left[name] = wanted
            elif name in entries:
                if entries[name].value not in wanted:
                    return None
            elif name not in defaults or defaults[name] not in wanted:
                return None
        return replace(self, conditions=left)

    def may_match(self, prompt: str, negative: str, style: tuple[str, ...]) -> bool:
        """Whether the texts match; seeds are checked one by one."""
        actual = {"prompt": prompt, "negative_prompt": negative, "style": style}
        return all(actual[name] in wanted for name, wanted in self.conditions.items() if name != "seed")


class Exclusions:
    """The manifest's rules, and how much they left out."""

    def __init__(self, rules: Sequence[Rule], pinner: Pinner) -> None:
        self._rules = rules
        self._all: list[Exclusion] = []
        for index, rule in enumerate(rules):
            conditions: dict[str, frozenset[object]] = {}
            for name, values in rule.conditions.items():
                # A prompt with alternatives stands for each of its texts.
                texts = [pinner.texts(value) if isinstance(value, Template) else [value] for value in values]
                conditions[name] = frozenset(chain.from_iterable(texts))
            self._all.append(Exclusion(index, conditions))
        self._used: set[int] = set()
        self.count = 0
        """Cells left out so far."""

    def of_setting(self, entries: Mapping[str, Entry], task: Task) -> tuple[Exclusion, ...]:
        """The rules that may match a cell of the setting."""
        return tuple(left for rule in self._all if (left := rule.left(entries, task)) is not None)

    def match(self, rules: Sequence[Exclusion], seed: int) -> bool:
        """Whether one of the rules, which match in all else, leaves a seed out; counts it."""
        for rule in rules:
            if seed in rule.conditions.get("seed", (seed,)):
                self.count += 1
                self._used.add(rule.index)
                return True
        return False

    def unused(self) -> Iterator[str]:
        """What to say of rules that left nothing out."""
        for index, rule in enumerate(self._rules):
            if index not in self._used:
                yield f"{rule.place}: this exclude leaves nothing out"
