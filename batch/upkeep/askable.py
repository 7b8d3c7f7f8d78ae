"""What a manifest may ask for at most holds for the tasks of a run folder too, before they are rendered again.

A receipt may be anybody's: a billion steps, or a picture of four gigapixels, would fill the memory or never end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from batch.base.errors import UserError
from batch.catalogue.model import Model
from batch.manifest import formats, values
from batch.manifest.axes import AXES
from batch.manifest.limits import LORAS
from batch.manifest.values import MAX_SEED, MAX_SIDE
from batch.memory.steps import STEPS
from batch.plan import checks
from batch.records.tasks import Task
from batch.records.values import Call, Value
from batch.store.images.reading import MAX_PIXELS

_MOST: Mapping[str, int] = {"max_sequence_length": 8192}
"""Of a whole number in ``extra``, where it is less than that of pixels: tokens, each padded or not."""


def check(root: Path, task: Task, model: Model) -> None:
    """Raise :class:`UserError` for a task that no manifest can have asked this model for."""
    try:
        why = next(_wrong(task, model), "")
    except ValueError as error:
        why = str(error)
    if why:
        raise UserError(
            f"the task {task.id} of {root} is none that a manifest can ask for, so it is damaged: {why}"
        )


def _wrong(task: Task, model: Model) -> Iterator[str]:
    """What is wrong with it; ValueErrors of the manifest's own readers tell the rest."""
    values.text(task.prompt)
    values.text(task.negative_prompt)
    values.whole(task.seed, 0, MAX_SEED)
    AXES["steps"].read(task.steps)
    values.number(task.guidance)
    for width, height in ((task.width, task.height), (task.rendered_width, task.rendered_height)):
        values.size(f"{width}x{height}")
        if width * height > MAX_PIXELS:
            yield f"{width}x{height} has more pixels than are read here"
    yield from filter(None, [formats.fits(task.format, task.width, task.height)])
    formats.check_options(task.format, dict(task.format_options))
    if len(task.loras) > LORAS:
        yield f"it has {len(task.loras):,} LoRAs, and no more than {LORAS} are possible"
    for step in (*task.memory_steps, *task.pixel_steps):
        yield from _wrong_step(step)
    for name, value in task.extra:
        yield from _too_large(name, value, _MOST.get(name, MAX_SIDE))
    yield from _objections(task, model)


def _wrong_step(step: Call) -> Iterator[str]:
    if step.name in STEPS:
        STEPS[step.name].read((), dict(step.arguments))
    else:
        yield f"there is no memory step {step.name}"


def _too_large(name: str, value: Value, most: int) -> Iterator[str]:
    if isinstance(value, tuple):
        for item in value:
            yield from _too_large(name, item, most)
    elif isinstance(value, int) and abs(value) > most:
        yield f"extra.{name}: {value:,} is more than {most:,}"


def _objections(task: Task, model: Model) -> Iterator[str]:
    """Of what the plan would say to the same cell that which reaches the model as it is written."""
    given: dict[str, object] = {f"extra.{name}": value for name, value in task.extra}
    given |= {"dtype": task.dtype, "steps": task.steps, "negative_prompt": task.negative_prompt}
    if task.scheduler is not None:
        given["scheduler"] = task.scheduler
    for axis, message in checks.objections(model, given):
        if axis in {"scheduler", "dtype"} or axis.startswith("extra."):
            yield f"{axis}: {message}"
