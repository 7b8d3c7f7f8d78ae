"""Prompts that are longer than their text encoder reads, told before anything is rendered.

A process with the model's tokenizers counts (:mod:`batch.render.foresight`), where these are on this machine; its
answers are kept, as those about memory are. Texts so short that every model reads them are not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import BatchError
from batch.base.text import plural
from batch.catalogue.families import CLIP_PIPELINES, FAMILIES, digest
from batch.hub import models
from batch.manifest.values import shown
from batch.plan.texts import negative_counts
from batch.records.reading import to_json
from batch.records.receipts import TextTokens
from batch.records.tasks import Task
from batch.run import configured, forecast

if TYPE_CHECKING:
    from batch.catalogue.model import Model
    from batch.memory.questions import Answer, TextsQuestion
    from batch.plan.plan import Plan
    from batch.records.spec import ModelSource

MOST = 2_000
"""Texts of a model that are counted for one plan; each takes some milliseconds the first time."""

SHOWN = 5
"""Texts that are told; there may be thousands."""

_LENGTH = "max_sequence_length"


@dataclass(frozen=True, slots=True)
class _Group:
    """Texts that a model reads in the same way."""

    task: Task
    """One of theirs, without texts."""
    negative: bool
    texts: dict[str, None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan asks the predicting process of its long texts."""

    groups: tuple[tuple[_Group, TextsQuestion], ...] = ()

    @property
    def questions(self) -> list[TextsQuestion]:
        """All of them."""
        return [question for _, question in self.groups]

    def warnings(self, plan: Plan, answers: Mapping[str, Answer]) -> list[str]:
        """What there is to say of the plan's texts; answers are by the keys of their questions."""
        said: list[str] = []
        remedies: dict[str, None] = {}
        for group, question in self.groups:
            cut = answers[question["key"]].get("cut", {})
            found = {question["texts"][int(number)]: TextTokens(**reading) for number, reading in cut.items()}
            said += _said(group, found)
            if cut and plan.models[group.task.model].pipeline in CLIP_PIPELINES:
                remedies[f"{group.task.model}: under long_prompts: chunk all of a text is read"] = None
        return [*said, *remedies]


def asked(plan: Plan) -> Asked:
    """What the predicting process is to be asked of the texts of a plan."""
    if forecast.unasked():
        return Asked()
    sources = {name: _source(model) for name, model in plan.models.items()}
    groups = [(group, source) for group in _groups(plan) if (source := sources[group.task.model]) is not None]
    return Asked(tuple((group, _question(group, source)) for group, source in groups))


def _groups(plan: Plan) -> Iterable[_Group]:
    """The long texts of a plan by model and arguments: a million tasks may share a few."""
    groups: dict[tuple[str, int, bool], _Group] = {}
    rules = {
        name: FAMILIES[model.family]
        for name, model in plan.models.items()
        if FAMILIES[model.family].staged or model.pipeline in CLIP_PIPELINES
    }
    for task in plan.tasks:
        rule = rules.get(task.model)
        if rule is None or task.long_prompts:
            continue
        reads = 0 if _LENGTH in dict(task.extra) else rule.reads
        for negative, text in ((False, task.prompt), (True, task.negative_prompt)):
            if not _is_long(text, reads) or (negative and rule.staged and not negative_counts(task, rule)):
                continue
            key = (task.model, id(task.extra), negative)
            if key not in groups:
                groups[key] = _Group(replace(task, prompt="", negative_prompt="", memory_steps=()), negative, {})
            groups[key].texts[text] = None
    return groups.values()


def _is_long(text: str, reads: int) -> bool:
    """Whether a text may be cut: a token has a byte at least."""
    return 4 * len(text) > reads and len(text.encode("utf-8", "replace")) > reads


def _source(model: Model) -> ModelSource | None:
    """Where the model's own tokenizers are; None where they are not on this machine."""
    try:
        found = models.source(model)
    except BatchError:
        return None
    known = model.random or configured.is_configured(Path(found.location))
    return found if known and not found.trust_remote_code else None


def _question(group: _Group, source: ModelSource) -> TextsQuestion:
    texts = sorted(group.texts, key=len, reverse=True)[:MOST]
    task = to_json(replace(group.task, id="", picture_id="", name="", source="", seed=0, loras=()))
    arguments = [item for item in group.task.extra if item[0] in FAMILIES[source.family].extra]
    syntax = group.task.prompt_syntax
    decides = [configured.counted_by(), configured.built_from(source), arguments, syntax, group.negative, texts]
    return {
        "key": digest(decides),
        "source": to_json(source),
        "task": task,
        "negative": group.negative,
        "texts": texts,
    }


def _said(group: _Group, cut: Mapping[str, TextTokens]) -> Iterator[str]:
    """The first texts that are cut, the longest first, and how many more there are."""
    what = "negative prompt" if group.negative else "prompt"
    model = group.task.model
    for text, found in islice(cut.items(), SHOWN):
        yield f"{model}: {what} {shown(text)} {found.said}"
    if len(cut) > SHOWN:
        yield f"{model}: {plural(len(cut) - SHOWN, f'more {what}')} are cut as these"
    if len(group.texts) > MOST and cut:
        yield f"{model}: the {MOST} longest {what}s were counted, of {len(group.texts)}"
