"""``plan``: what a run would do: the grid's arithmetic, the sizes, what is done. Touches nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import one_line, plural
from batch.cli import plan_memory, plan_words
from batch.cli.options import (
    cache_dir_option,
    devices_option,
    engine_option,
    json_option,
    manifest_argument,
    out_option,
    set_option,
    shard_option,
)
from batch.cli.terminal import print_json, say, show, waiting
from batch.records.kinds import RunKind

if TYPE_CHECKING:
    from batch.memory.questions import Question, TextsQuestion
    from batch.plan.batching import NumericsChoice
    from batch.plan.plan import Plan
    from batch.records.shard import Shard
    from batch.run.forecast import Forecast
    from batch.run.portions import TextsOutlook
    from batch.run.remaining import Outlook, Remaining


@click.command(short_help="Show what a run would do; touches nothing.")
@manifest_argument
@out_option
@set_option
@engine_option
@devices_option
@shard_option
@cache_dir_option
@json_option
def plan(
    *,
    manifest: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    engine: str | None,
    devices: str | None,
    shard: Shard | None,
    as_json: bool,
) -> int:
    """Show what a run would do: the grid's arithmetic, the sizes, what is done. Touches nothing."""
    from batch.base.devices import listed
    from batch.run import forecast, no_effect, portions, prompt_lengths, remaining
    from batch.run.options import Options
    from batch.run.prepare import prepare
    from batch.store import predictions

    listed(devices)  # before anything is looked for
    options = Options(out=out, overrides=overrides, engine=engine or "", devices=devices, shard=shard)
    job = prepare(manifest, options, tell=waiting)
    whole, made, folder = job.plan, job.part, job.folder
    no_effect.refuse_what_has_no_effect(whole, options, job.manifest.run)
    folder.check(whole.name, whole.kind)
    where = None
    if made.ids_known:
        where = remaining.remaining(
            made, folder, job.manifest.run.retries, job.earlier, devices=devices, crew=job.crew, whole=whole
        )
    outlook = remaining.outlook(made, where, folder, job.earlier, job.manifest.run.min_free_disk, job.crew)
    texts_asked, memory_asked = prompt_lengths.asked(made), forecast.asked(made)
    answers = predictions.answers([*texts_asked.questions, *memory_asked.questions], _predicting)
    made = replace(made, warnings=(*made.warnings, *texts_asked.warnings(made, answers), *outlook.warnings))
    memory = memory_asked.forecast(answers)
    texts = None
    if where and made.kind == RunKind.RENDER:
        recycled = job.manifest.run.recycle_after > 0
        texts = portions.outlook(made, where.to_render, recycled=recycled, devices=devices, workers=len(job.crew))
    if as_json:
        print_json(
            plan_json(made, where, folder.root, outlook, memory, texts)
            | {"name": whole.name, "shard": str(shard) if shard else None, "whole": len(whole.tasks)}
        )
    else:
        part = f"shard {shard}: {len(made.tasks)} of these {plural(len(whole.tasks), 'image')}" if shard else ""
        show(plan_words.plan_text(made, where, folder.root, outlook, texts, part), *plan_memory.parts(memory))
    for warning in made.warnings:
        say(one_line(f"warning: {warning}"))
    return errors.EXIT_OK


def _predicting(missing: Sequence[Question | TextsQuestion]) -> None:
    if not sys.stderr.isatty():
        return
    texts = sum(len(question["texts"]) for question in missing if "texts" in question)
    stages = sum("stage" in question for question in missing)
    counting = f"counting the tokens of {plural(texts, 'long prompt')}" if texts else ""
    predicting = f"predicting the memory of {plural(stages, 'stage')}" if stages else ""
    say(f"{' and '.join(filter(None, (counting, predicting)))}, once: the next plan knows them …")


def plan_json(
    plan: Plan,
    left: Remaining | None,
    folder: Path,
    outlook: Outlook,
    forecast: Forecast,
    texts: TextsOutlook | None,
) -> dict[str, object]:
    """What ``plan --json`` prints."""
    measured = {
        "pictures": plan.pictures,
        "repeats": plan.repeats,
        "settings": plan.settings,
        "passes": plan.passes,
        "warmups": sum(bool(task.warmup) for task in plan.tasks),
    }
    return {
        "name": plan.name,
        "folder": str(folder),
        "axes": {name: count for names, count in plan.factors for name in names},
        "rows": plan.rows,
        "product": plan.cells,
        "included": plan.included,
        "excluded": plan.excluded,
        "duplicates": plan.duplicates,
        "images": len(plan.tasks),
        "measure": measured if plan.repeats else None,
        "sizes": [
            {"model": use.model, "asked": str(use.asked), "rendered": str(use.rendered)} for use in plan.sizes
        ],
        "models": {name: model.stamp or None for name, model in plan.models.items()},
        "numerics": [_choice_json(item) for item in plan.choices.values()],
        "done": left.done if left else None,
        "to_render": len(left.to_render) if left else None,
        "given_up": len(left.given_up) if left else None,
        "extra": left.extra if left else None,
        "touched": left.touched if left else None,
        "torn": left.torn if left else None,
        "taken": left.taken if left else None,
        "out_of_memory": left.out_of_memory if left else None,
        "skipped": len(left.skipped) if left else None,
        "expected": asdict(outlook.estimate),
        "texts": asdict(texts) if texts else None,
        "free_bytes": outlook.free_bytes,
        "memory": plan_memory.as_json(forecast),
        "warnings": list(plan.warnings),
    }


def _choice_json(choice: NumericsChoice) -> dict[str, object]:
    return {
        "model": choice.model,
        "size": choice.size,
        "batch": choice.numerics.batch,
        "why_batch": choice.why_batch,
        "compile": choice.numerics.compile,
        "why_compile": choice.why_compile,
    }
