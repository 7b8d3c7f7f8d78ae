"""Plans and summaries as text for people and as data for programs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.base.text import duration, gib, plural
from batch.cli import plan_memory as show_memory

if TYPE_CHECKING:
    from batch.catalogue.families import Model
    from batch.plan import Plan, SizeUse
    from batch.run.forecast import Forecast
    from batch.run.remaining import Outlook, Standing
    from batch.store.status import Summary


PROMPTS = 4
"""How many of a plan's prompts are shown."""
WIDEST = 100
"""Characters of each."""


def plan_text(plan: Plan, standing: Standing | None, folder: Path, outlook: Outlook, forecast: Forecast) -> str:
    """What ``plan`` prints."""
    lines = [f"{plan.name} → {folder}", "", f"  {_arithmetic(plan)}", "", *_prompts(plan), ""]
    for use in plan.sizes:
        how = "" if use.asked == use.rendered else f"   rendered at {use.rendered}, then {_resampled(use)}"
        lines.append(f"  {use.model}  {use.asked}{how}")
    lines.extend(["", *(f"  {line}" for line in _measuring(plan))] if plan.repeats else [])
    lines.append("")
    for name, model in plan.models.items():
        lines.append(f"  model {name}: {_revision(model, outlook.models_in)}")
    lines.extend(f"  {line}" for line in _numerics(plan))
    lines.append("")
    lines.extend(f"  {line}" for line in _resume_lines(plan, standing, outlook))
    lines.append("")
    lines.extend(f"  {line}" for line in show_memory.lines(forecast))
    return "\n".join(lines)


def _arithmetic(plan: Plan) -> str:
    parts = [_product(plan)] if plan.cells else []
    if plan.included:
        parts.append(f"+ {plan.included} included")
    if plan.excluded:
        parts.append(f"− {plan.excluded} excluded")
    if plan.duplicates:
        parts.append(f"− {plural(plan.duplicates, 'duplicate')}")
    if len(parts) > 1 or not plan.cells:
        parts.append(f"= {plan.pictures}")
    return f"{' '.join(parts)} {'image' if plan.pictures == 1 else 'images'}".removeprefix("+ ")


def _prompts(plan: Plan) -> Iterator[str]:
    """The first prompts, so that one that was cut at a comma or is not the one meant is seen in time."""
    prompts = list(dict.fromkeys(task.prompt for task in plan.tasks))
    shown = prompts if len(prompts) <= PROMPTS + 1 else prompts[:PROMPTS]
    for prompt in (" ".join(prompt.split()) for prompt in shown):
        yield f"  prompt: {prompt if len(prompt) <= WIDEST else prompt[: WIDEST - 2] + ' …'}"
    if len(prompts) > len(shown):
        yield f"  … and {plural(len(prompts) - len(shown), 'more prompt')}"


def _measuring(plan: Plan) -> Iterator[str]:
    """What a measurement makes of the images of the grid."""
    warmups = sum(bool(task.warmup) for task in plan.tasks)
    measured = len(plan.tasks) - warmups
    yield (
        f"measured {plural(plan.repeats, 'time')} each: {plural(measured, 'image')}, and "
        f"{plural(warmups, 'warm-up')} that no median counts"
    )
    yield (
        f"{plural(plan.settings, 'setting')} in {plural(plan.passes, 'pass', 'passes')}"
        f"{', the second one backwards' if plan.passes > 1 else ''}: "
        f"{plural(plan.settings * plan.passes, 'fresh process', 'fresh processes')}"
    )


def _product(plan: Plan) -> str:
    if plan.rows:
        return f"{plural(plan.rows, 'row')} = {plan.cells}"
    # "1 step" for steps: 20 would be misread: an axis of one says nothing here.
    factors = [
        plural(count, _WORDS.get(names[0], names[0].replace("_", " ")))
        if len(names) == 1
        else f"{count} ({' + '.join(names)})"
        for names, count in plan.factors
        if count > 1 or "prompt" in names
    ]
    regular = math.prod(count for _, count in plan.factors) == plan.cells
    own = "" if regular else " (some prompts have values of their own)"
    return f"{' × '.join(factors)}{own} = {plan.cells}"


_WORDS = {"memory": "memory setting"}


def _revision(model: Model, place: Path) -> str:
    if model.random:
        return f"random weights ({model.revision})"
    if not model.revision:
        size = f"`fetch` downloads about {model.download_gb:g} GB" if model.download_gb else "`fetch` downloads it"
        terms = f", after its terms are accepted at https://huggingface.co/{model.repo}" if model.gated else ""
        return f"{model.repo}, not in {place} yet: {size}{terms}; its revision is fixed at the first run"
    return f"{model.repo + ' at ' if model.repo else 'local files '}{model.revision[:12]}"


def _resampled(use: SizeUse) -> str:
    """What is done to a picture that is rendered at another size."""
    asked, rendered = use.asked.width / use.asked.height, use.rendered.width / use.rendered.height
    kept = min(asked, rendered) / max(asked, rendered)
    return "resampled" if kept > 0.99 else f"resampled and cropped: {1 - kept:.0%} of it is cut off"


def _numerics(plan: Plan) -> Iterator[str]:
    """Batches and compiling, of every size once; one line where all sizes are alike."""
    choices = list(plan.choices.values())
    told = {(item.numerics, item.why_batch, item.why_compile) for item in choices}
    for item in choices[:1] if len(told) == 1 else choices:
        where = "" if len(told) == 1 else f"{item.model} {item.size}: "
        batch, on = item.numerics.batch, "yes" if item.numerics.compile else "no"
        yield f"{where}batch {batch} ({item.why_batch}), compiled {on} ({item.why_compile})"


def _resume_lines(plan: Plan, standing: Standing | None, outlook: Outlook) -> list[str]:
    if standing is None:
        why = "seeds and variants are drawn" if plan.new_draws else "the model's revision is known"
        lines = [f"a run would render up to {plural(len(plan.tasks), 'image')}; what is done shows once {why}"]
        return [*lines, *_expected(outlook)]
    lines = [f"done {standing.done}, to render {len(standing.to_render)}"]
    if standing.failed_before:
        lines.append(f"failed before {standing.failed_before}, of which given up {len(standing.given_up)}")
    if standing.out_of_memory:
        skipped = f", skipped for it {len(standing.skipped)}" if standing.skipped else ""
        lines.append(f"out of memory {standing.out_of_memory}{skipped}: `run --retry-oom` tries them again")
    if standing.extra:
        lines.append(f"{plural(standing.extra, 'image')} in the folder that this manifest does not name")
    if standing.to_render:
        lines.extend(_expected(outlook))
        if plan.repeats:
            lines.append(
                "starting, loading and encoding come on top in every process, often for longer than the images"
            )
    return lines


def _expected(outlook: Outlook) -> list[str]:
    expected = outlook.estimate
    if expected.seconds is None:
        time = "not known before the first images are there"
    else:
        time = f"about {duration(expected.seconds)}, as {_MADE[expected.seconds_from]}"
    taken = expected.disk_from if expected.disk_from not in _MADE else f"as {_MADE[expected.disk_from]}"
    free = "" if outlook.free_bytes is None else f"; {gib(outlook.free_bytes)} are free"
    lines = [
        f"time: {time}",
        f"disk: about {gib(expected.disk_bytes)} for what is to render, {taken}{free}",
    ]
    if expected.peak_bytes:
        lines.append(f"memory: {gib(expected.peak_bytes)} at most so far")
    return lines


_MADE = {"this run": "this run's images took", "earlier runs": "earlier runs took here"}


def plan_json(
    plan: Plan, standing: Standing | None, folder: Path, outlook: Outlook, forecast: Forecast
) -> dict[str, Any]:
    """What ``plan --json`` prints."""
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
        "measure": _measuring_json(plan) if plan.repeats else None,
        "sizes": [
            {"model": use.model, "asked": str(use.asked), "rendered": str(use.rendered)} for use in plan.sizes
        ],
        "models": {name: model.revision or None for name, model in plan.models.items()},
        "numerics": [
            {
                "model": item.model,
                "size": item.size,
                "batch": item.numerics.batch,
                "why_batch": item.why_batch,
                "compile": item.numerics.compile,
                "why_compile": item.why_compile,
            }
            for item in plan.choices.values()
        ],
        "done": standing.done if standing else None,
        "to_render": len(standing.to_render) if standing else None,
        "given_up": len(standing.given_up) if standing else None,
        "extra": standing.extra if standing else None,
        "out_of_memory": standing.out_of_memory if standing else None,
        "skipped": len(standing.skipped) if standing else None,
        "expected": asdict(outlook.estimate),
        "free_bytes": outlook.free_bytes,
        "memory": show_memory.as_json(forecast),
        "warnings": list(plan.warnings),
    }


def _measuring_json(plan: Plan) -> dict[str, int]:
    return {
        "pictures": plan.pictures,
        "repeats": plan.repeats,
        "settings": plan.settings,
        "passes": plan.passes,
        "warmups": sum(bool(task.warmup) for task in plan.tasks),
    }


def summary_text(summary: Summary) -> str:
    """What ``status`` prints."""
    lines = [f"{summary.name}: {summary.done} of {summary.total} done"]
    counts = {
        "failed": summary.failed, "out of memory": summary.out_of_memory, "missing": summary.missing,
        "degraded": summary.degraded, "extra": summary.extra,
    }  # fmt: skip
    lines.extend(f"  {name} {count}" for name, count in counts.items() if count)
    lines.extend(f"  skipped {count}: {why}" for why, count in summary.skipped.items())
    lines.append(f"  {_running(summary.running)}")
    if summary.killed:
        lines.append(f"  the run that began {summary.killed} was killed: run it again to go on")
    if summary.seconds_per_image is not None:
        lines.append(f"  {duration(summary.seconds_per_image)} an image (median)")
    if summary.peak_bytes is not None:
        lines.append(f"  peak memory {gib(summary.peak_bytes)}")
    if summary.missing and summary.eta_s is not None:
        lines.append(f"  about {duration(summary.eta_s)} for the rest")
    if summary.happened:
        tally = ", ".join(f"{kind} {count}" for kind, count in summary.happened.items())
        lines.append(f"  happened in the last run: {tally}")
    lines.extend(f"    {_local(event.time)}  {_first_line(event.text)}" for event in summary.last_happenings)
    lines.extend(f"  OUT OF MEMORY {error}" for error in summary.unfit)
    lines.extend(f"  FAILED {error}" for error in summary.errors)
    return "\n".join(lines)


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _running(who: Mapping[str, object] | None) -> str:
    if who is None:
        return "not running"
    return f"running: process {who.get('pid')} on {who.get('host')} since {who.get('since')}"


def summary_json(summary: Summary) -> dict[str, Any]:
    """What ``status --json`` prints."""
    return {**asdict(summary), "eta_s": summary.eta_s}
