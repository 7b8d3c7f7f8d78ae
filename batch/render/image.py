"""One image from its stages, whatever they do: out of memory, bad pictures.

A stage that runs out of memory goes down the ladder (:mod:`batch.render.way`); a picture that is none is decoded
once more in float32. What was done about it travels with the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from batch.memory import ladder
from batch.records.events import Happening
from batch.records.kinds import ErrorKind, HappeningKind, Stage
from batch.records.receipts import Measurement
from batch.records.tasks import Task
from batch.render.backend import Loads
from batch.render.failures import StageFailed
from batch.render.way import Job, RenderError, Way

if TYPE_CHECKING:
    from batch.render.backend import Heartbeat, Session
    from batch.render.guards import Pixels
    from batch.render.way import Latents, Rendered, Rungs, Tell, Work

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """Renders images with a session."""

    session: Session[Latents]
    device: str
    rungs: Rungs
    fallback: bool
    tell: Tell
    keep_latents: bool = False
    compiled: bool = False
    """Render with a compiled model, where that is possible."""
    strict: bool = False
    """What fails fails: a batch is not split, a bad picture not repaired, a compiled model not given up."""

    def render(self, job: Job, beat: Heartbeat, *, step_down: Stage | None = None) -> Rendered:
        """One image.

        ``step_down`` names a stage whose last attempt took the whole process with it: it starts a rung lower.
        Raises :class:`RenderError` when a stage fails for good.
        """
        task, session = job.task, self.session
        way = self._start(Loads.IMAGES, job, beat)
        if step_down is not None and step_down in ladder.LADDERS and self.fallback:
            way.step_down(step_down, None)
        if not session.staged:
            pixels = self._twice(
                way, Stage.RENDER, "rendered again", lambda steps: session.whole(task, steps, beat)
            )
            return way.done(pixels, session)
        latents = self._twice(
            way, Stage.DENOISE, "denoised again", lambda steps: session.denoise([task], [job.embeds], steps, beat)
        )
        return self._finished(way, latents, beat)

    def together(
        self, jobs: Sequence[Job], beat: Heartbeat, *, step_down: Stage | None = None
    ) -> Iterator[tuple[Job, Rendered | RenderError]]:
        """Images that differ in texts and seed only, denoised in one call, each as soon as it is decoded.

        Where that fails, for want of memory or because one of them is no picture, each is rendered alone, as one
        by itself always is; ``step_down`` as in :meth:`render`.
        """
        first = jobs[0].task
        latents = None
        if len(jobs) > 1 and ladder.BATCH not in self.rungs.of(first):
            # Out of memory together: one by one comes before any smaller setting.
            way = replace(self._start(Loads.IMAGES, jobs[0], beat), fallback=False)
            try:
                latents = self._denoised_together(way, jobs, beat)
            except RenderError as error:
                yield from ((job, error) for job in jobs)
                return
        for index, job in enumerate(jobs):
            try:
                if latents is None:
                    made = self.render(job, beat, step_down=step_down)
                else:
                    one = replace(way.share(job, len(jobs)), fallback=self.fallback)
                    made = self._finished(one, latents[index : index + 1], beat)
            except RenderError as error:
                yield job, error
            else:
                yield job, made

    def _denoised_together(self, way: Way, jobs: Sequence[Job], beat: Heartbeat) -> Latents | None:
        tasks, embeds = [job.task for job in jobs], [job.embeds for job in jobs]
        try:
            return self._compiled_or_not(
                way, Stage.DENOISE, lambda steps: self.session.denoise(tasks, embeds, steps, beat)
            )
        except RenderError as error:
            if self.strict:
                raise
            info = error.info
        if info.kind == ErrorKind.OUT_OF_MEMORY:
            self.rungs.take(tasks[0], ladder.BATCH, (ladder.ALONE,))
        self._say(
            HappeningKind.BATCH_FAILED,
            tasks[0],
            f"{len(tasks)} images in one call failed ({info.message}); each is rendered alone"
            + (" from now on" if info.kind == ErrorKind.OUT_OF_MEMORY else ""),
            {"stage": Stage.DENOISE, "message": info.message, "images": len(tasks)},
        )
        return None

    def _finished(self, way: Way, latents: Latents, beat: Heartbeat) -> Rendered:
        """From latents to the picture."""
        kept = self.session.latents_bytes(latents) if self.keep_latents else None
        return way.done(self._decode(way, latents, beat), self.session, kept)

    def redecode(self, task: Task, data: bytes, beat: Heartbeat) -> Rendered:
        """Decode kept latents with the task's memory setting. Raises :class:`RenderError` when that fails."""
        way = self._start(Loads.DECODER, Job(task=task), beat)
        try:
            latents = self.session.latents_from(data)
        except StageFailed as error:
            raise RenderError(error.info, way.measured) from None
        pixels = self._decode(way, latents, beat)
        return way.done(pixels, self.session, data if self.keep_latents else None)

    def _start(self, part: Loads, job: Job, beat: Heartbeat) -> Way:
        task = job.task
        beat(Stage.LOAD, 0, 0)
        base = self.session.prepare(part, task, compiled=self.compiled and part == Loads.IMAGES)
        if excuse := self.session.take_excuse():
            self._not_compiled(task, Stage.LOAD, excuse)
        load_s = self.session.take_load_s()
        measured = Measurement(
            load_s=load_s,
            encode=job.encoded,
            memory_source=self.session.meter.memory_source,
            warmup=load_s is not None or bool(task.warmup),
        )
        return Way(
            task, self.device, base, self.rungs, self.fallback, self.tell, measured,
            texts_by=job.texts_by,
            texts=job.texts,
        )  # fmt: skip

    def _decode(self, way: Way, latents: Latents, beat: Heartbeat) -> Pixels:
        task, session = way.task, self.session
        return self._twice(
            way, Stage.DECODE, "decoded in float32", lambda steps: session.decode(task, latents, steps, beat),
            lambda steps: session.decode(task, latents, steps, beat, float32=True),
        )  # fmt: skip

    def _compiled_or_not(self, way: Way, stage: Stage, work: Work[T]) -> T:
        """A stage; once more without compiling where that may be why it failed."""
        try:
            return way.stage(stage, work)
        except RenderError as error:
            hopeless = (
                self.strict
                or stage == Stage.DECODE
                or error.info.kind in (ErrorKind.OUT_OF_MEMORY, ErrorKind.INVALID)
            )
            if hopeless or not self.session.compiled:
                raise
            said = error.info.message
        self.session.cannot_compile()
        self._not_compiled(way.task, stage, said)
        return way.stage(stage, work)

    def _not_compiled(self, task: Task, stage: Stage, why: str) -> None:
        text = f"{task.model} is rendered without compiling from now on: {why}"
        self._say(HappeningKind.NOT_COMPILED, task, text, {"stage": stage, "message": why})

    def _say(self, kind: HappeningKind, task: Task, text: str, data: Mapping[str, object]) -> None:
        self.tell(Happening(kind=kind, text=text, task=task.id, data=data))

    def _twice(self, way: Way, stage: Stage, remedy: str, first: Work[T], again: Work[T] | None = None) -> T:
        """A stage, and once more with a remedy (by default the same again) when what it makes is no picture."""
        try:
            value = self._compiled_or_not(way, stage, first)
        except RenderError as error:
            if error.info.kind != ErrorKind.INVALID or self.strict:
                raise
            said = error.info.message
        else:
            for odd in self.session.take_objections():
                text = f"{way.task.name}: {odd.text}"
                if odd.kind == HappeningKind.RANDOM_WEIGHTS:
                    text += f"; the weights of {way.task.model} are random, so it counts as done"
                self._say(odd.kind, way.task, text, {"stage": stage, "message": odd.text})
            return value
        data = {"stage": stage, "message": said}
        self._say(HappeningKind.INVALID, way.task, f"{way.task.name}: {said}; {remedy}", data)
        value = way.stage(stage, again or first)
        way.repaired = "; ".join(filter(None, (way.repaired, f"{remedy}: {said}")))
        return value
