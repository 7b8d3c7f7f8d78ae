"""The memory that a plan's settings will take on a card, predicted by a process that has torch, and kept.

Every stage of every model, size and memory setting is a question to :mod:`batch.render.foresight`; the answers lie
in the user's cache folder, so that the next plan has them at once. What cannot be predicted says why, and has no
number.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from batch.catalogue import pag
from batch.catalogue.families import FAMILIES, digest
from batch.manifest.values import Size
from batch.memory import footprint, profiles
from batch.memory.footprint import Component, PipelineParts, StageWork
from batch.memory.steps import CUTS
from batch.plan import alike
from batch.records.reading import to_json
from batch.records.spec import ModelSource
from batch.records.tasks import Task
from batch.records.values import Call
from batch.run import configured

if TYPE_CHECKING:
    from batch.memory.footprint import Footprint
    from batch.memory.questions import Answer, Question
    from batch.plan.plan import Plan

SWITCH = "RUN_BATCH_PREDICT"
"""Environment variable: 0 leaves the prediction out."""

MOST = 36
"""Settings that are predicted for one plan: each takes seconds the first time."""

_LONG_TEXT = "a lighthouse at dusk, " * 100
"""Longer than any model takes, so that no text takes more."""

_INSTRUCTION = ("x" * 225,)
"""In place of SANA's instruction where the packaged tokenizer stands for a Gemma's: it takes each of these for a
token, and the instruction is about 225 tokens of a Gemma's."""

_MATTERS = pag.NAMES | {"true_cfg_scale", "max_sequence_length", "skip_guidance_layers"}
"""Extra arguments that change what a stage takes."""

_STEPS = 2
"""Of denoising: a scheduler that looks back has its memory by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One memory setting of one model at one size."""

    model: str
    dtype: str
    size: str
    rendered: str
    memory: str
    """As the manifest names it."""
    steps: str
    """What that stands for."""
    placed: str = ""
    """Of ``auto`` on a card that is too small for the whole model: how it offloads there."""
    batch: int = 1
    loras: bool = False
    """The tasks have LoRAs, which are not counted."""
    footprint: Footprint | None = None
    why: str = ""
    """Why there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What was predicted for a plan."""

    rows: tuple[Row, ...] = ()
    left_out: int = 0
    """Settings beyond :data:`MOST`."""
    why: str = ""
    """Why nothing was predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plan asks the predicting process."""

    settings: tuple[tuple[_Setting, Mapping[str, Question] | str], ...] = ()
    """Each with a question for every stage, or why there is none."""
    left_out: int = 0
    """Settings beyond :data:`MOST`."""
    why: str = ""
    """Why nothing is asked."""

    @property
    def questions(self) -> list[Question]:
        """All of them; equal ones have equal keys."""
        return [one for _, stages in self.settings if not isinstance(stages, str) for one in stages.values()]

    def forecast(self, answers: Mapping[str, Answer]) -> Forecast:
        """What the answers make, which are by the keys of their questions."""
        rows = []
        for item, stages in self.settings:
            if isinstance(stages, str):
                rows.append(_row(item, item.task.memory_steps, why=stages))
            else:
                rows += _rows(item, {stage: answers[question["key"]] for stage, question in stages.items()})
        return Forecast(rows=tuple(rows), left_out=self.left_out, why=self.why)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A group of tasks that one prediction holds for."""

    task: Task
    """The one that takes most, reduced to what matters."""
    name: str
    batch: int
    loras: bool
    random: bool
    """The weights are drawn, so that the packaged tokenizer is the model's own."""


def unasked() -> str:
    """Why the predicting process is not asked; empty where it is."""
    if os.environ.get(SWITCH) == "0":
        return f"{SWITCH} is 0"
    missing = (name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None)
    return next((f"{name} is not installed" for name in missing), "")


def asked(plan: Plan) -> Asked:
    """What the predicting process is to be asked about the memory settings of a plan."""
    if why := unasked():
        return Asked(why=why)
    settings = _settings(plan)
    chosen = settings[:MOST]
    sources = {name: configured.source_of(plan.models[name]) for name in {item.task.model for item in chosen}}
    built = {name: configured.built_from(item) for name, item in sources.items() if isinstance(item, ModelSource)}
    found: list[tuple[_Setting, Mapping[str, Question] | str]] = []
    for item in chosen:
        source = sources[item.task.model]
        stages = source if isinstance(source, str) else _questions(item, source, built[item.task.model])
        found.append((item, stages))
    return Asked(settings=tuple(found), left_out=len(settings) - len(chosen))


# What is to be predicted


def _settings(plan: Plan) -> list[_Setting]:
    """Every model, dtype, size and memory setting, with the task that takes most, in the plan's order."""
    kinds: dict[Hashable, Task] = {}
    for task in plan.tasks:  # a million of them, which share what is the same
        same = (
            task.model, task.dtype, task.width, task.height, task.rendered_width, task.rendered_height,
            id(task.memory_steps), task.guidance, id(task.extra), bool(task.negative_prompt), bool(task.loras),
        )  # fmt: skip
        kinds.setdefault(same, task)
    groups: dict[Hashable, list[Task]] = {}
    for task in kinds.values():
        groups.setdefault(alike.forecast_key(task), []).append(task)
    return [_setting(plan, tasks) for tasks in groups.values()]


def _setting(plan: Plan, tasks: list[Task]) -> _Setting:
    heaviest = max(tasks, key=lambda task: (pag.passes(task), bool(task.negative_prompt)))
    model, size = plan.models[heaviest.model], Size(heaviest.rendered_width, heaviest.rendered_height)
    family, choice = FAMILIES[model.family], plan.choices.get(alike.size_name(heaviest))
    return _Setting(
        task=Task(
            model=heaviest.model,
            dtype=heaviest.dtype,
            prompt=_LONG_TEXT,
            negative_prompt=_LONG_TEXT if heaviest.negative_prompt else "",
            seed=0,
            width=heaviest.width,
            height=heaviest.height,
            rendered_width=heaviest.rendered_width,
            rendered_height=heaviest.rendered_height,
            steps=_STEPS,
            # One for all that act, and one for all that do not.
            guidance=family.guidance_above + (3.0 if family.guides(heaviest.guidance) else 0.0),
            extra=tuple(item for item in heaviest.extra if item[0] in _MATTERS),
            memory_steps=tuple(step for step in heaviest.memory_steps if profiles.acts(step, size)),
        ),
        name=heaviest.memory,
        batch=choice.numerics.batch if choice else 1,
        loras=any(task.loras for task in tasks),
        random=model.random,
    )


def _questions(item: _Setting, source: ModelSource, built: str) -> dict[str, Question]:
    """A question for each stage; equal ones have equal keys, however many settings ask them."""
    task = item.task
    decoded = tuple(step for step in task.memory_steps if step.name in ("vae_tiling", "vae_cpu"))
    cut = tuple(step for step in task.memory_steps if step.name in CUTS)
    plain = replace(task, model="", memory_steps=())
    instructs = "complex_human_instruction" in FAMILIES[source.family].extra
    if source.architecture and not item.random and instructs:
        plain = replace(plain, extra=(*plain.extra, ("complex_human_instruction", _INSTRUCTION)))
    sizeless = replace(plain, width=0, height=0, rendered_width=0, rendered_height=0)
    tiles = replace(plain, memory_steps=decoded)
    decoding = replace(tiles, width=task.width, height=task.height, guidance=0.0, extra=(), negative_prompt="")
    less = replace(plain, memory_steps=cut)
    about: dict[str, tuple[Task, Task, int]] = {  # the task asked about, what of it decides, images in one call
        "encode": (sizeless, sizeless, 1),
        "denoise": (less, replace(less, width=0, height=0), item.batch),
        "decode": (tiles, decoding, 1),
    }
    return {
        stage: {
            "key": digest([*configured.counted_by(), built, stage, batch, to_json(decides)]),
            "stage": stage,
            "source": to_json(source),
            "task": to_json(whole),
            "batch": batch,
        }
        for stage, (whole, decides, batch) in about.items()
    }


# What comes of it


def _rows(item: _Setting, stages: Mapping[str, Answer]) -> list[Row]:
    """The setting's row; of ``auto`` the one on a small card too."""
    steps = item.task.memory_steps
    why = next((answer["why"] for answer in stages.values() if "why" in answer), "")
    if why:
        return [_row(item, steps, why=why)]
    parts = PipelineParts(
        texts=_components(stages["encode"]),
        images=_components(stages["denoise"]),
        **{stage: StageWork(**answer["work"]) for stage, answer in stages.items()},
    )
    rows = [_row(item, steps, footprint.of(parts, steps))]
    for way in profiles.AUTO_OFFLOADS if item.name == "auto" else ():
        if rows[-1].footprint and rows[-1].footprint.fits()[footprint.CARDS[0]] and rows[-1].placed:
            break  # the smallest card does with the faster way
        offloaded = (*steps, profiles.step(way))
        rows.append(replace(_row(item, offloaded, footprint.of(parts, offloaded)), placed=way))
    return rows


def _components(answer: Answer) -> dict[str, Component]:
    return {name: Component(**found) for name, found in answer["components"].items()}


def _row(item: _Setting, steps: tuple[Call, ...], found: Footprint | None = None, why: str = "") -> Row:
    task = item.task
    return Row(
        model=task.model,
        dtype=task.dtype,
        size=task.size,
        rendered=f"{task.rendered_width}x{task.rendered_height}",
        memory=item.name,
        steps=profiles.shown_steps(steps),
        batch=item.batch,
        loras=item.loras,
        footprint=found,
        why=why,
    )
