"""A run whose times are known: what each part takes, and the events as they come up, by a clock of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from batch.catalogue import pag
from batch.plan.alike import load_key
from batch.records.events import Beat, Began, Encoded, Event, Loading
from batch.records.kinds import Stage
from batch.records.receipts import FileRef, Machine, Measurement, Outcome, Receipt, StagePeak
from batch.records.tasks import EncodeTask, Task

MEGAPIXEL = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. ``models`` are times that one takes longer, ``moved`` those of a setting that offloads."""

    step: float = 0.4
    """Of one pass over a megapixel."""
    decode: float = 1.2
    """Of a megapixel."""
    text: float = 0.15
    load: float = 15.0
    first: float = 6.0
    """What a first image after a load takes longer."""
    between: float = 0.2
    save: float = 1.0
    moved: float = 2.2
    growth: float = 1.2
    """The power of the pixels that a step grows with."""
    noise: float = 0.03
    models: Mapping[str, float] = field(default_factory=dict)

    def denoise(self, task: Task) -> float:
        """Seconds of all steps."""
        size = task.rendered_width * task.rendered_height / MEGAPIXEL
        passes = 1 if pag.passes(task) == 1 else 1.8  # two images in a call are a little faster than two calls
        return self.step * size**self.growth * passes * task.steps * self.of(task) * self._chance(task, "denoise")

    def decoded(self, task: Task) -> float:
        """Seconds of decoding."""
        size = task.rendered_width * task.rendered_height / MEGAPIXEL
        return self.decode * size * self.of(task) * self._chance(task, "decode")

    def beside(self, stage: Stage, task: Task | EncodeTask) -> float:
        """Seconds of a stage that is not denoising."""
        if isinstance(task, EncodeTask):
            return self.text
        return self.decoded(task) if stage is Stage.DECODE else 0.0

    def loading(self, model: str) -> float:
        """Seconds of loading one half of a model: its text encoders, or what renders."""
        return self.load * self.models.get(model, 1.0) / 2

    def of(self, task: Task) -> float:
        """Times that a task takes longer."""
        moved = any("offload" in step.name for step in task.memory_steps)
        return self.models.get(task.model, 1.0) * (self.moved if moved else 1.0)

    def _chance(self, task: Task, stage: str) -> float:
        drawn = hashlib.sha256(f"{task.id}{stage}".encode()).digest()[0] / 255
        return 1 + self.noise * (2 * drawn - 1)


@dataclass(slots=True)
class Told:
    """An event, and when."""

    at: float
    event: Event


def told(tasks: Sequence[Task], times: Times, folder, start: float = 0.0) -> Iterator[Told]:
    """Every event of a run that renders ``tasks`` in this order, texts before the images of their model."""
    now, late = start + 3.0, []
    texts = {key: len({task.prompt for task in group}) for key, group in groupby(tasks, load_key)}
    yield Told(start, Began(name="known", folder=folder, total=len(tasks), done=0, to_render=len(tasks)))
    for key, group in groupby(tasks, load_key):
        encoder = times.load * times.models.get(key[0], 1.0) / 3
        yield Told(now, Loading(texts[key]))
        now += encoder
        for encoded in range(texts[key]):
            now += times.text
            yield Told(now, Encoded(encoded + 1, texts[key]))
        for number, task in enumerate(group):
            load = times.load * times.models.get(key[0], 1.0) if number == 0 else None
            begun = now + (load or 0.0) * 2 / 3 + times.between
            denoised = times.denoise(task) + (0.0 if number else times.first)
            yield from late
            late = []
            for step in range(task.steps):
                at = begun + denoised * (step + 1) / task.steps
                yield Told(at, Beat(task.name, Stage.DENOISE, step + 1, task.steps, (task.id,)))
            now = begun + denoised + times.decoded(task)
            yield Told(now - times.decoded(task), Beat(task.name, Stage.DECODE, ids=(task.id,)))
            receipt = a_receipt(task, times, denoised, load, encoded=times.text if number < 3 else 0.0)
            late = [Told(now + times.save, Outcome(key=task.id, status="done", receipt=receipt))]
    yield from late


def a_receipt(task: Task, times: Times, denoised: float, load: float | None, *, encoded: float) -> Receipt:
    """What an image leaves behind."""
    return Receipt(
        task=task,
        file=FileRef(path="x.png", bytes=10**6, sha256="", width=task.width, height=task.height),
        measurement=Measurement(
            load_s=load,
            encode=StagePeak(seconds=encoded),
            denoise=StagePeak(seconds=denoised),
            decode=StagePeak(seconds=times.decoded(task)),
            save_s=times.save,
            between_s=times.between,
            warmup=load is not None,
        ),
        machine=Machine(device="fake"),
        attempts=1,
        started_at="",
    )
