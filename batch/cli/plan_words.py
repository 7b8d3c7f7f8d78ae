"""What ``plan`` prints, down to the memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.text import done_about, gib, plural, roughly
from batch.cli.single_files import single_file

if TYPE_CHECKING:
    from batch.catalogue.model import Model
    from batch.plan.plan import Plan
    from batch.run.portions import TextsOutlook
    from batch.run.remaining import Outlook, Remaining

PROMPTS = 4
"""How many of a plan's prompts are shown."""
WIDEST = 100
"""Characters of each."""


def plan_text(
    plan: Plan,
    left: Remaining | None,
    folder: Path,
    outlook: Outlook,
    texts: TextsOutlook | None,
    shown_part: str = "",
) -> str:
    """What ``plan`` prints, down to the memory; ``shown_part`` is which part of the grid this is."""
    parts = [
        [_arithmetic(plan), *filter(None, [shown_part])],
        _prompts(plan),
        _sizes(plan),
        _models(plan, outlook),
        [*_resume_lines(plan, left, outlook), *(texts.said if texts else ())],
    ]
    lines = [f"{plan.name} → {folder}"]
    for part in parts:
        lines += ["", *(f"  {line}" if line else "" for line in part)]
    return "\n".join(lines)


def _arithmetic(plan: Plan) -> str:
    parts = []
    if plan.rows:
        parts.append(f"{plural(plan.rows, 'row')} = {plan.cells}")
    elif plan.cells:
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
        parts.append(f"{' × '.join(factors)}{own} = {plan.cells}")
    if plan.included:
        parts.append(f"+ {plan.included} included")
    if plan.excluded:
        parts.append(f"− {plan.excluded} excluded")
    if plan.duplicates:
        parts.append(f"− {plural(plan.duplicates, 'duplicate')}")
    if len(parts) > 1 or not plan.cells:
        parts.append(f"= {plan.pictures}")
    return f"{' '.join(parts)} {'image' if plan.pictures == 1 else 'images'}".removeprefix("+ ")


_WORDS = {"memory": "memory setting"}


def _prompts(plan: Plan) -> Iterator[str]:
    """The first prompts, so that one that was cut at a comma or is not the one meant is seen in time."""
    prompts = list(dict.fromkeys(task.prompt for task in plan.tasks))
    shown = prompts if len(prompts) <= PROMPTS + 1 else prompts[:PROMPTS]
    for prompt in (" ".join(prompt.split()) for prompt in shown):
        yield f"prompt: {prompt if len(prompt) <= WIDEST else prompt[: WIDEST - 2] + ' …'}"
    if len(prompts) > len(shown):
        yield f"… and {plural(len(prompts) - len(shown), 'more prompt')}"


def _sizes(plan: Plan) -> Iterator[str]:
    """Every size and what is done to a picture rendered at another one; what a measurement makes of the images."""
    for use in plan.sizes:
        how = ""
        if use.asked != use.rendered:
            asked, rendered = use.asked.width / use.asked.height, use.rendered.width / use.rendered.height
            kept = min(asked, rendered) / max(asked, rendered)
            cut = "" if kept > 0.99 else f" and cropped: {1 - kept:.0%} of it is cut off"
            how = f"   rendered at {use.rendered}, then resampled{cut}"
        yield f"{use.model}  {use.asked}{how}"
    if plan.repeats:
        warmups = sum(bool(task.warmup) for task in plan.tasks)
        backwards = ", the second one backwards" if plan.passes > 1 else ""
        yield ""
        yield (
            f"measured {plural(plan.repeats, 'time')} each: {plural(len(plan.tasks) - warmups, 'image')}, and "
            f"{plural(warmups, 'warm-up')} that no median counts"
        )
        yield (
            f"{plural(plan.settings, 'setting')} in {plural(plan.passes, 'pass', 'passes')}{backwards}: "
            f"{plural(plan.settings * plan.passes, 'fresh process', 'fresh processes')}"
        )


def _models(plan: Plan, outlook: Outlook) -> Iterator[str]:
    """Every model; then batches and compiling, of every size once, in one line where all sizes are alike."""
    for name, model in plan.models.items():
        if model.random:
            where = f"random weights ({model.revision})"
        elif model.checkpoint is not None:
            where = f"{single_file(model.checkpoint)}{_rest(model, outlook)}"
        elif model.revision:
            where = f"{model.repo + ' at ' if model.repo else 'local files '}{model.revision[:12]}"
        else:
            size = f"about {model.download_gb:g} GB" if model.download_gb else "it"
            terms = f", after its terms are accepted at https://huggingface.co/{model.repo}" if model.gated else ""
            where = (
                f"{model.repo}, not in {outlook.models_in} yet: `fetch` downloads {size}{terms}; "
                "its revision is fixed at the first run"
            )
        yield f"model {name}: {where}"
    choices = list(plan.choices.values())
    alike = len({(item.numerics, item.why_batch, item.why_compile) for item in choices}) == 1
    for item in choices[:1] if alike else choices:
        whose = "" if alike else f"{item.model} {item.size}: "
        batch, on = item.numerics.batch, "yes" if item.numerics.compile else "no"
        yield f"{whose}batch {batch} ({item.why_batch}), compiled {on} ({item.why_compile})"


def _rest(model: Model, outlook: Outlook) -> str:
    """Where a checkpoint has from what it lacks, if it lacks something."""
    if not model.repo:
        return ""
    here = (
        f"at {model.revision[:12]}" if model.revision else f"not in {outlook.models_in} yet: `fetch` downloads it"
    )
    return f"; the rest of {model.repo}, {here}"


def _resume_lines(plan: Plan, left: Remaining | None, outlook: Outlook) -> list[str]:
    if left is None:
        why = "seeds and variants are drawn" if plan.new_draws else "the model's revision is known"
        lines = [f"a run would render up to {plural(len(plan.tasks), 'image')}; what is done shows once {why}"]
        return [*lines, *_expected(outlook)]
    lines = [f"done {left.done}, to render {len(left.to_render)}"]
    if left.failed_before:
        lines.append(f"failed before {left.failed_before}, of which given up {len(left.given_up)}")
    if left.out_of_memory:
        skipped = f", skipped for it {len(left.skipped)}" if left.skipped else ""
        lines.append(f"out of memory {left.out_of_memory}{skipped}: `run --retry-oom` tries them again")
    lines += left.notes
    if left.extra:
        lines.append(f"{plural(left.extra, 'image')} in the folder that this manifest does not name")
    if left.to_render:
        lines.extend(_expected(outlook))
        if plan.repeats:
            lines.append("starting and encoding come on top in every process, often for longer than the images")
    return lines


def _expected(outlook: Outlook) -> list[str]:
    expected = outlook.estimate
    if expected.seconds is None:
        time = "not known before the first images are there"
    else:
        end = f"{done_about(expected.seconds, guessed=expected.is_guess)} if started now"
        on = f" on {expected.devices} devices" if expected.devices and expected.devices > 1 else ""
        if expected.devices is None:
            on, end = " of one GPU's time", "how many GPUs share it shows when the cluster answers"
        time = f"about {roughly(expected.seconds)}{on}, {expected.seconds_from.phrase}; {end}"
    free = "" if outlook.free_bytes is None else f"; {gib(outlook.free_bytes)} are free"
    lines = [
        f"time: {time}",
        f"disk: about {gib(expected.disk_bytes)} for what is to render, {expected.disk_from.phrase}{free}",
    ]
    if expected.peak_bytes:
        lines.append(f"memory: {gib(expected.peak_bytes)} at most so far")
    return lines
