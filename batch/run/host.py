"""Whether host memory has room for the weights that wait there, of all workers of a machine together."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from batch.base.errors import BatchError
from batch.base.text import gib, plural
from batch.hub.models import source
from batch.memory import footprint
from batch.memory.steps import OFFLOADS, TEXTS_OFFLOADED, groups_of
from batch.run import encoders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.plan.plan import Plan
    from batch.records.tasks import Task
    from batch.records.values import Call
    from batch.run.encoders import HalfSizes

LOCKED = 1.5
"""Page-locked weights take so much more: torch rounds every tensor up to a power of two. An estimate."""

IN_8_BITS = 0.5
"""Of 16 bits, what weights that are stored in 8 take: scales and layers that are left aside."""


def warning(plan: Plan, memory: int | None, workers: int) -> str:
    """What does not fit when ``workers`` render a plan here, in words; "" where it fits, and with one worker.

    ``memory`` is that of the smallest card that renders, in bytes; None where none does. Of models that are not on
    this machine yet nothing is known.
    """
    if workers < 2:
        return ""
    needs = {name: _of_worker(plan, own, memory) for name, own in encoders.by_model(plan.tasks).items()}
    name = max(needs, key=lambda name: needs[name], default="")
    free = psutil.virtual_memory().available
    if not name or workers * needs[name] <= free:
        return ""
    what = "keep weights" if memory is not None else "render"
    fewer = f"name {plural(free // needs[name], 'device')} at most (--devices)" if free >= needs[name] else ""
    other = "take a memory setting that offloads less" if memory is not None else "take a smaller model"
    return (
        f"{name}: {workers} workers {what} in host memory, {gib(needs[name])} each, {gib(workers * needs[name])} "
        f"together, and {gib(free)} are free; {' or '.join(filter(None, (fewer, other)))}"
    )


def in_host(size: HalfSizes, work: int, steps: Iterable[Call], memory: int | None, *, auto: bool) -> int:
    """Bytes of host memory that one worker takes under a memory setting: one half of a model at a time.

    ``work`` is what rendering takes beside weights; ``auto``: the setting is made to fit a card of that memory.
    """
    if memory is None:
        return max(size.texts, size.images + work)
    given = {step.name: step for step in steps}
    there = memory * (1 - footprint.KEPT_BY_DRIVER)
    crowded = auto and footprint.fitting(size.images, work) > there
    texts = size.texts if "text_encoder_cpu" in given or not given.keys().isdisjoint(TEXTS_OFFLOADED) else 0
    images = float(size.images if crowded or not given.keys().isdisjoint(OFFLOADS) else 0)
    if not given.keys().isdisjoint({"fp8_weights", "quantize"}):
        images *= IN_8_BITS
    grouped = given.get("group_offload")
    locked = LOCKED if grouped is not None and groups_of(grouped).stream else 1
    return round(locked * max(texts, images))


def _of_worker(plan: Plan, tasks: Iterable[Task], memory: int | None) -> int:
    """The most that a model's tasks take of host memory, of one worker; 0 where that is not known."""
    most = 0
    with suppress(BatchError):
        found = source(plan.models[next(iter(tasks)).model])
        sizes = {dtype: encoders.of_model(found, dtype) for dtype in {task.dtype for task in tasks}}
        for task in tasks:
            if size := sizes[task.dtype]:
                work = size.work(task.rendered_width * task.rendered_height)
                auto = task.memory == "auto"
                most = max(most, in_host(size, work, task.memory_steps, memory, auto=auto))
    return most
