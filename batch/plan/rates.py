"""What the parts of an image took, learned apart, so that other sizes, steps and settings can be counted. Pure."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from batch.catalogue import pag
from batch.memory.profiles import shown_steps
from batch.memory.steps import CUTS
from batch.records.receipts import Machine, Measurement, Receipt
from batch.records.spec import Numerics
from batch.records.tasks import Task
from batch.records.values import Call

RECENT = 15
"""Images of a kind that its median is of: a card that has become slower is believed after eight of them."""

STEEPEST, FLATTEST = 2.0, 0.5
"""How a stage's seconds may grow with the pixels, as a power: attention over all of them, and a card that small
sizes do not fill."""


_MOST = 1e12
"""Beyond any time, size and number of bytes."""


class CostPart(StrEnum):
    """Of what an image, and what lies before it, is made up; and the bytes of its file."""

    DENOISE = "denoise"
    """Seconds a step."""
    WHOLE = "whole"
    """The same of a pipeline that is called whole, its decoding in it."""
    DECODE = "decode"
    BETWEEN = "between"
    """What lies between two images: messages, and a wait for a saver that is slower than the model."""
    SAVE = "save"
    """Behind the next image: only that of the last one is waited for."""
    ENCODE = "encode"
    """Seconds a text."""
    LOAD = "load"
    BYTES = "bytes"
    """Bytes a pixel."""


GROWING = {CostPart.DENOISE, CostPart.WHOLE, CostPart.DECODE, CostPart.SAVE}
"""What grows with the pixels."""

_BY_FORM = {CostPart.SAVE, CostPart.BYTES, CostPart.BETWEEN}
"""What depends on the file's format, and on no memory setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFamily:
    """Nothing is taken for another of these: model, its files, dtype, and the memory setting as far as it acts."""

    part: CostPart
    model: str
    revision: str
    dtype: str
    memory: str = ""
    form: str = ""
    """The file's format with its options, where the part depends on it."""
    first: bool = False
    """Of images after a load, which take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostKind:
    """Of a family those that should take as long; the others tell by their size."""

    pixels: int = 0
    passes: int = 0
    steps: int = 0
    how: str = ""
    """Scheduler, images in a call, compiled, LoRAs, tiles."""

    def is_close(self, other: CostKind) -> bool:
        """Whether one tells of the other without being scaled."""
        return (self.pixels, self.passes) == (other.pixels, other.passes)

    def distance(self, other: CostKind) -> tuple[float, bool, bool, int]:
        """The smaller, the more it tells of the other."""
        ratio = abs(math.log(self.pixels / other.pixels)) if self.pixels and other.pixels else 0.0
        return ratio, self.passes != other.passes, self.how != other.how, abs(self.steps - other.steps)


@dataclass(frozen=True, slots=True)
class LearnedCost:
    """A value that was learned, and whether it is of the very size."""

    value: float
    close: bool


def asked(task: Task, limit: int | None = None) -> str:
    """The memory setting of a task; ``limit``: bytes of the card that the process is held to.

    What ``auto`` comes to on a card is not known beforehand, so it is no other setting.
    """
    return _asked(task.memory == "auto", task.memory_steps, limit)


@cache
def _asked(auto: bool, steps: tuple[Call, ...], limit: int | None) -> str:
    words = ["auto"] if auto else []
    words += [f"held to {limit}"] if limit is not None else []
    return " + ".join([*words, shown_steps(steps)])


def used(receipt: Receipt) -> str:
    """The memory setting that an image was really made with."""
    return receipt.memory_used or asked(receipt.task, receipt.machine.vram_limit)


@cache
def acting(part: CostPart, memory: str) -> str:
    """What of a memory setting acts on a part."""
    if part in _BY_FORM:
        return ""
    return " + ".join(word for word in memory.split(" + ") if word != "full" and _acts(part, word.split("(")[0]))


def _acts(part: CostPart, name: str) -> bool:
    if name in CUTS:
        return part in (CostPart.DENOISE, CostPart.WHOLE)
    if name.startswith("vae_"):  # tiles take about as long as the whole; ``how`` tells them apart
        return part in (CostPart.DECODE, CostPart.WHOLE) and name != "vae_tiling"
    if name.startswith("text_encoder_") or name == "encode_first":
        return part in (CostPart.ENCODE, CostPart.LOAD)
    return True


def place(
    part: CostPart, task: Task, memory: str, numerics: Numerics, *, first: bool = False
) -> tuple[CostFamily, CostKind]:
    """Where what a part of a task takes is kept."""
    form = f"{task.format}{dict(task.format_options) or ''}" if part in _BY_FORM else ""
    dtype = "" if part is CostPart.BYTES else task.dtype
    family = CostFamily(
        part=part, model=task.model, revision=task.revision, dtype=dtype, memory=acting(part, memory), form=form,
        first=first,
    )  # fmt: skip
    if part in (CostPart.LOAD, CostPart.ENCODE):
        return family, CostKind()
    if part in (CostPart.BYTES, CostPart.SAVE):
        return family, CostKind(pixels=task.width * task.height)
    pixels = task.rendered_width * task.rendered_height
    if part is CostPart.BETWEEN:
        return family, CostKind(pixels=pixels, how=f"{numerics.batch}")
    if part is CostPart.DECODE:
        tiles = " ".join(word for word in memory.split(" + ") if "vae_tiling" in word)
        return family, CostKind(pixels=pixels, how=tiles)
    scheduler = task.scheduler.name if task.scheduler else ""
    how = f"{scheduler} {numerics.batch} {numerics.compile} {len(task.loras)}"
    return family, CostKind(pixels=pixels, passes=pag.passes(task), steps=task.steps, how=how)


def parts(receipt: Receipt) -> Iterator[tuple[CostPart, float, bool]]:
    """Every part of which an image tells, its value, and whether it is that of a first image."""
    cost, task = receipt.measurement, receipt.task
    first = cost.warmup or cost.load_s is not None
    yield CostPart.BYTES, receipt.file.bytes / max(1, receipt.file.width * receipt.file.height), False
    # An image decoded from kept latents has no denoising.
    for part, stage in ((CostPart.DENOISE, cost.denoise), (CostPart.WHOLE, cost.whole)):
        if stage is not None and stage.seconds > 0:
            yield part, stage.seconds / max(1, task.steps), first
    if cost.decode is not None:
        yield CostPart.DECODE, cost.decode.seconds, first
    yield from _besides(cost, first)


def _besides(cost: Measurement, first: bool) -> Iterator[tuple[CostPart, float, bool]]:
    if cost.between_s is not None:
        yield CostPart.BETWEEN, cost.between_s, first
    if cost.save_s is not None:
        yield CostPart.SAVE, cost.save_s, False
    if cost.encode is not None and cost.encode.seconds > 0:
        yield CostPart.ENCODE, cost.encode.seconds, False
    if cost.load_s is not None:
        yield CostPart.LOAD, cost.load_s, False


@dataclass(slots=True)
class Rates:
    """What was learned from one source: this run, or earlier ones. Medians."""

    values: dict[CostFamily, dict[CostKind, deque[float]]] = field(default_factory=dict)
    settings: dict[tuple[str, str, str, int, str], str] = field(default_factory=dict)
    """What a memory setting came to at a size, where memory ran out."""
    machine: Machine = field(default_factory=Machine)
    """Whose they are."""

    def add(self, receipt: Receipt) -> None:
        """Learn from an image."""
        self.machine, memory, task = receipt.machine, used(receipt), receipt.task
        self.settings[setting_key(task, receipt.machine.vram_limit)] = memory
        numerics = Numerics(batch=receipt.batch, compile=receipt.compile)
        for part, value, first in parts(receipt):
            self.put(*place(part, task, memory, numerics, first=first), value)

    def put(self, family: CostFamily, kind: CostKind, value: float) -> None:
        """Learn one value, if it can be one: receipts are files, in which anything may stand."""
        least = 1 if family.part in GROWING else 0
        if not (0 <= value < _MOST and least <= kind.pixels < _MOST):
            return
        self.values.setdefault(family, {}).setdefault(kind, deque(maxlen=RECENT)).append(value)

    def find(self, family: CostFamily, kind: CostKind) -> LearnedCost | None:
        """What a kind takes, from the one that is most like it; scaled where that is of another size."""
        known = self.values.get(family)
        if not known:
            return None
        best = min(known, key=kind.distance)
        value = statistics.median(known[best])
        if family.part not in GROWING or kind.is_close(best):
            return LearnedCost(value, close=True)
        medians = {item: statistics.median(values) for item, values in known.items()}
        scale = _by_pixels(medians, best, kind) * _by_passes(medians, best, kind)
        return LearnedCost(value * scale, close=False)

    def of_any(self, part: CostPart) -> float | None:
        """What a part takes whatever the model; None where none is known."""
        found = [
            value
            for family, kinds in self.values.items()
            if family.part is part and not family.first
            for values in kinds.values()
            for value in values
        ]
        return statistics.median(found) if found else None


def setting_key(task: Task, limit: int | None) -> tuple[str, str, str, int, str]:
    """Tasks for which a memory setting comes to the same."""
    pixels = task.rendered_width * task.rendered_height
    return task.model, task.revision, task.dtype, pixels, asked(task, limit)


def learn(receipts: Iterable[Receipt]) -> Rates:
    """What these images tell: the latest of each kind, so that a million take no longer than they must."""
    alike: dict[tuple[object, ...], list[Receipt]] = {}
    for item in receipts:
        task, cost = item.task, item.measurement
        key = (
            task.model, task.revision, task.dtype, task.rendered_width, task.rendered_height, task.steps,
            task.guidance, task.memory, item.memory_used, task.format, item.batch, item.compile,
            cost.warmup or cost.load_s is not None, cost.denoise is None,
        )  # fmt: skip
        alike.setdefault(key, []).append(item)
    latest = [sorted(items, key=lambda item: item.started_at)[-RECENT:] for items in alike.values()]
    rates = Rates()
    for item in sorted((item for items in latest for item in items), key=lambda item: item.started_at):
        rates.add(item)
    return rates


def _by_pixels(medians: dict[CostKind, float], best: CostKind, kind: CostKind) -> float:
    """Times that a kind takes for its size: as two sizes tell, or as the pixels."""
    if best.pixels == kind.pixels:
        return 1.0
    others = [item for item in medians if item.pixels != best.pixels and item.passes == best.passes]
    power = 1.0
    if others and medians[best] > 0:
        other = min(others, key=best.distance)
        told = math.log(max(medians[other], 1e-12) / medians[best]) / math.log(other.pixels / best.pixels)
        power = min(STEEPEST, max(FLATTEST, told))
    return float((kind.pixels / best.pixels) ** power)


def _by_passes(medians: dict[CostKind, float], best: CostKind, kind: CostKind) -> float:
    """Times that a kind takes for its guidance: as another size tells, or as the images in a call."""
    if best.passes == kind.passes or not best.passes:
        return 1.0
    for item, value in medians.items():
        twins = (twin for twin in medians if twin.pixels == item.pixels and twin.passes == best.passes)
        twin = next(twins, None) if item.passes == kind.passes else None
        if twin is not None and medians[twin] > 0:
            return value / medians[twin]
    return kind.passes / best.passes
