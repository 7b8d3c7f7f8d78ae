"""Prompts that are longer than their text encoder reads, told before anything is rendered.

A process with the model's tokenizers counts (:mod:`batch.render.foresight`), where these are on this machine; its
answers are kept, as those about memory are. Texts so short that every model reads them are not asked about.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
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
from batch.run import forecast
from batch.store import predictions

if TYPE_CHECKING:
    from batch.catalogue.model import Model
    from batch.memory.questions import TextsQuestion
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


def warnings(plan: Plan, tell: Callable[[int], None] = lambda _count: None) -> list[str]:
    """What there is to say of the texts of a plan; ``tell`` is told how many must be counted first."""
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing or os.environ.get(forecast.SWITCH) == "0":
        return []
    asked: dict[str, _Group] = {}
    questions: list[TextsQuestion] = []
    for group in _groups(plan):
        source = _source(plan.models[group.task.model])
        if source is not None:
            questions.append(_question(group, source))
            asked[questions[-1]["key"]] = group
    count = sum(len(item["texts"]) for item in questions)
    answers = predictions.answers(questions, lambda _: tell(count))
    said: list[str] = []
    remedies: dict[str, None] = {}
    for key, group in asked.items():
        cut = answers[key].get("cut", {})
        said += _said(group, {int(number): TextTokens(**found) for number, found in cut.items()})
        if cut and plan.models[group.task.model].pipeline in CLIP_PIPELINES:
            remedies[f"{group.task.model}: under long_prompts: chunk all of a text is read"] = None
    return [*said, *remedies]


def _groups(plan: Plan) -> Sequence[_Group]:
    """The long texts of a plan by model and arguments: a million tasks may share a few."""
    groups: dict[tuple[str, int, bool], _Group] = {}
    for task in plan.tasks:
        for negative, text in enumerate((task.prompt, task.negative_prompt)):
            model = plan.models[task.model]
            rule = FAMILIES[model.family]
            if task.long_prompts or task.prompt_syntax or not _is_long(text, rule.reads, task):
                continue
            if not (rule.staged or model.pipeline in CLIP_PIPELINES):
                continue
            if negative and rule.staged and not negative_counts(task, rule):
                continue
            key = (task.model, id(task.extra), bool(negative))
            if key not in groups:
                groups[key] = _Group(
                    replace(task, prompt="", negative_prompt="", memory_steps=()), bool(negative), {}
                )
            groups[key].texts[text] = None
    return list(groups.values())


def _is_long(text: str, reads: int, task: Task) -> bool:
    """Whether a text may be cut: a token has a byte at least."""
    most = reads if _LENGTH not in dict(task.extra) else 0
    return 4 * len(text) > most and len(text.encode("utf-8", "replace")) > most


def _source(model: Model) -> ModelSource | None:
    """Where the model's own tokenizers are; None where they are not on this machine."""
    try:
        found = models.source(model)
    except BatchError:
        return None
    known = model.random or forecast.is_configured(Path(found.location))
    return found if known and not found.trust_remote_code else None


def _question(group: _Group, source: ModelSource) -> TextsQuestion:
    texts = sorted(group.texts, key=len, reverse=True)[:MOST]
    task = to_json(replace(group.task, id="", picture_id="", name="", source="", seed=0, loras=()))
    arguments = [item for item in group.task.extra if item[0] in FAMILIES[source.family].extra]
    decides = [forecast.counted_by(), forecast.built_from(source), arguments, group.negative, texts]
    return {
        "key": digest(decides),
        "source": to_json(source),
        "task": task,
        "negative": group.negative,
        "texts": texts,
    }


def _said(group: _Group, cut: Mapping[int, TextTokens]) -> Iterator[str]:
    """The first texts that are cut, the longest first, and how many more there are."""
    texts = sorted(group.texts, key=len, reverse=True)
    what = "negative prompt" if group.negative else "prompt"
    model = group.task.model
    for number, found in list(cut.items())[:SHOWN]:
        yield f"{model}: {what} {shown(texts[number])} {found.said}"
    if len(cut) > SHOWN:
        yield f"{model}: {plural(len(cut) - SHOWN, f'more {what}')} are cut as these"
    if len(texts) > MOST and cut:
        yield f"{model}: the {MOST:,} longest {what}s were counted, of {len(texts):,}"
