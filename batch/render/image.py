"""One image from its stages, whatever they do: out of memory, bad pictures.

A stage that runs out of memory is repeated alone, one rung further down the ladder (:mod:`batch.memory.ladder`);
a picture that is none is decoded once more in float32. What was done about it travels with the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from batch.base.errors import TaskError, UserError
from batch.manifest.values import Size
from batch.memory import ladder
from batch.memory.ladder import Taken
from batch.memory.profiles import shown_steps
from batch.records import (
    Call,
    ErrorInfo,
    ErrorKind,
    Happening,
    HappeningKind,
    Measurement,
    Stage,
    StagePeak,
    Task,
)
from batch.render.backend import Heartbeat, Loads, Oddity, Session, Timed
from batch.render.failures import StageFailed
from batch.render.guards import Pixels

T = TypeVar("T")

Tell = Callable[[Happening], None]

DOING = {
    Stage.ENCODE: "encoding its text",
    Stage.DENOISE: "denoising",
    Stage.DECODE: "decoding",
    Stage.RENDER: "rendering",
}


Latents = Any
"""What a session makes of tasks; nobody here looks into it."""

Work = Callable[[tuple[Call, ...]], Timed[T]]
"""A stage under a memory setting."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Pixels ``[H, W, 3]``, what they cost, and what had to be done to get them."""

    pixels: Pixels
    measurement: Measurement
    latents: bytes | None = None
    """As denoising left them (safetensors), on request."""
    degraded_from: str = ""
    memory_used: str = ""
    repaired: str = ""
    batch: int = 1
    """Images denoised in one call with this one, itself among them."""
    compiled: bool = False
    scheduler: Mapping[str, object] = field(default_factory=dict)
    """The scheduler at work and its configuration."""


class RenderError(TaskError):
    """An image failed; ``measurement`` holds what was measured until then."""

    def __init__(self, info: ErrorInfo, measurement: Measurement) -> None:
        super().__init__(info.message, stage=info.stage)
        self.info = info
        self.measurement = measurement


class Rungs(Protocol):
    """What has been taken on this card: :class:`batch.store.rungs.RungFile` keeps it."""

    def of(self, task: Task) -> Taken:
        """The rungs that hold for a task."""
        ...

    def take(self, task: Task, stage: str, rungs: tuple[str, ...]) -> None:
        """From now on these rungs hold for the stage of every such task."""
        ...


@dataclass(slots=True)
class _Way:
    """One image on its way: its setting, and what was measured so far."""

    task: Task
    device: str
    base: tuple[Call, ...]
    rungs: Rungs
    fallback: bool
    tell: Tell
    measured: Measurement
    impossible: set[str] = field(default_factory=set)
    repaired: str = ""
    texts_by: str = ""
    batch: int = 1
    """Images denoised in one call with this one."""

    @property
    def steps(self) -> tuple[Call, ...]:
        return ladder.lowered(self.base, self.rungs.of(self.task))

    def stage(self, name: Stage, work: Work[T]) -> T:
        """The stage's value; repeated down the ladder while memory runs out."""
        failure: StageFailed | None = None
        rung: str | None = None
        while True:
            try:
                timed = work(self.steps)
            except StageFailed as error:
                failure = error
            except UserError:
                if failure is None or rung is None:
                    raise
                self._drop(name, rung)  # one that this pipeline does not know; the failure before it stands
            else:
                self._keep(name, timed.peak, timed.energy_j)
                self.measured = replace(self.measured, warmup=self.measured.warmup or timed.warmup)
                return timed.value
            self._keep(name, failure.peak, None)
            down = failure.out_of_memory and self.fallback
            rung = self.step_down(name, failure.info, in_host=failure.in_host) if down else None
            if rung is None:
                raise RenderError(failure.info, self.measured)

    def step_down(self, stage: Stage, info: ErrorInfo | None, *, in_host: bool = False) -> str | None:
        """Take the next rung of a stage, if there is one; ``in_host``: for want of the host's memory."""
        task = self.task
        size = Size(task.rendered_width, task.rendered_height)
        rung = ladder.next_rung(stage, self.steps, size, self.device, self.impossible, in_host=in_host)
        if rung is None:
            return None
        self.rungs.take(task, stage, (*self.rungs.of(task).get(stage, ()), rung))
        asked = f", {info.requested / 2**20:.0f} MiB did not fit" if info and info.requested else ""
        self.tell(
            Happening(
                kind=HappeningKind.OUT_OF_MEMORY,
                text=f"out of memory while {DOING[stage]} {task.name}{asked}: "
                f"{rung} from now on for {size} of {task.model}",
                task=task.id,
                data={
                    "stage": stage,
                    "rung": rung,
                    "message": info.message if info else "",
                    "requested": info.requested if info else None,
                },
            )
        )
        return rung

    def _drop(self, stage: Stage, rung: str) -> None:
        self.impossible.add(rung)
        kept = tuple(item for item in self.rungs.of(self.task).get(stage, ()) if item != rung)
        self.rungs.take(self.task, stage, kept)

    def _keep(self, stage: Stage, peak: StagePeak | None, energy: float | None) -> None:
        if peak is not None and stage == Stage.RENDER:
            self.measured = replace(self.measured, whole=peak)
        elif peak is not None and stage == Stage.DENOISE:
            self.measured = replace(self.measured, denoise=peak)
        elif peak is not None:
            self.measured = replace(self.measured, decode=peak)
        if energy is not None:
            self.measured = replace(self.measured, energy_j=(self.measured.energy_j or 0.0) + energy)

    def share(self, job: Job, images: int) -> _Way:
        """The way on from here of one image of a batch: the call's time and energy are shared evenly."""
        denoise, energy = self.measured.denoise, self.measured.energy_j
        assert denoise is not None
        measured = replace(
            self.measured,
            load_s=self.measured.load_s if job.task is self.task else None,
            encode=job.encoded,
            denoise=replace(denoise, seconds=denoise.seconds / images),
            energy_j=None if energy is None else energy / images,
        )
        return replace(self, task=job.task, measured=measured, texts_by=job.texts_by, batch=images)

    def done(self, pixels: Pixels, session: Session[Latents], latents: bytes | None = None) -> Rendered:
        """What became of the image."""
        degraded = self.steps != self.base or bool(self.texts_by)
        used = shown_steps(self.steps) + (f" + {self.texts_by}" if self.texts_by else "")
        # What `auto` came to on this card is a measurement's result.
        told = degraded or (self.task.repeat is not None and self.task.memory == "auto")
        return Rendered(
            pixels,
            replace(self.measured, card=session.meter.card()),
            latents,
            batch=self.batch,
            compiled=session.compiled,
            scheduler=session.scheduler,
            degraded_from=self.task.memory if degraded else "",
            memory_used=used if told else "",
            repaired=self.repaired,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to render: its task, and the embeddings of its texts, the prompt's first."""

    task: Task
    embeds: Sequence[bytes] = ()
    """None where the pipeline is called whole."""
    encoded: StagePeak | None = None
    """What encoding these texts took."""
    texts_by: str = ""
    """The rung by which its texts were encoded, because the card had no room for their encoder."""


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

    def _denoised_together(self, way: _Way, jobs: Sequence[Job], beat: Heartbeat) -> Latents | None:
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

    def _finished(self, way: _Way, latents: Latents, beat: Heartbeat) -> Rendered:
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

    def _start(self, part: Loads, job: Job, beat: Heartbeat) -> _Way:
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
        return _Way(
            task, self.device, base, self.rungs, self.fallback, self.tell, measured,
            texts_by=job.texts_by,
        )  # fmt: skip

    def _decode(self, way: _Way, latents: Latents, beat: Heartbeat) -> Pixels:
        task, session = way.task, self.session
        return self._twice(
            way, Stage.DECODE, "decoded in float32", lambda steps: session.decode(task, latents, steps, beat),
            lambda steps: session.decode(task, latents, steps, beat, float32=True),
        )  # fmt: skip

    def _compiled_or_not(self, way: _Way, stage: Stage, work: Work[T]) -> T:
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

    def _twice(self, way: _Way, stage: Stage, remedy: str, first: Work[T], again: Work[T] | None = None) -> T:
        """A stage, and once more with a remedy (by default the same again) when what it makes is no picture."""
        try:
            value = self._compiled_or_not(way, stage, first)
        except RenderError as error:
            if error.info.kind != ErrorKind.INVALID or self.strict:
                raise
            said = error.info.message
        else:
            for odd in self.session.take_objections():
                self._tell_oddity(odd, way.task, stage)
            return value
        data = {"stage": stage, "message": said}
        self._say(HappeningKind.INVALID, way.task, f"{way.task.name}: {said}; {remedy}", data)
        value = way.stage(stage, again or first)
        way.repaired = "; ".join(filter(None, (way.repaired, f"{remedy}: {said}")))
        return value

    def _tell_oddity(self, odd: Oddity, task: Task, stage: Stage) -> None:
        text = f"{task.name}: {odd.text}"
        if odd.kind == HappeningKind.RANDOM_WEIGHTS:
            text += f"; the weights of {task.model} are random, so it counts as done"
        self._say(odd.kind, task, text, {"stage": stage, "message": odd.text})
