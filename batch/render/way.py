"""One image on its way through the stages: its setting, what it has cost so far, what became of it.

A stage that runs out of memory is repeated alone, one rung further down the ladder (:mod:`batch.memory.ladder`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from batch.base.errors import TaskError, UserError
from batch.manifest.values import Size
from batch.memory import ladder
from batch.memory.profiles import shown_steps
from batch.records.events import Happening
from batch.records.kinds import HappeningKind, Stage
from batch.records.receipts import ErrorInfo, Measurement, StagePeak, TextTokens
from batch.records.tasks import Task
from batch.records.values import Call
from batch.render.backend import Timed
from batch.render.failures import StageFailed

if TYPE_CHECKING:
    from batch.memory.ladder import Taken
    from batch.render.backend import Session
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
    texts: tuple[TextTokens, ...] = ()
    """See :class:`~batch.records.receipts.Receipt`."""


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
class Way:
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
    texts: tuple[TextTokens, ...] = ()
    batch: int = 1
    """Images denoised in one call with this one."""

    @property
    def steps(self) -> tuple[Call, ...]:
        """Its setting now, with the rungs that hold for it."""
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
                # One that this pipeline does not know; the failure before it stands.
                self.impossible.add(rung)
                kept = tuple(item for item in self.rungs.of(self.task).get(name, ()) if item != rung)
                self.rungs.take(self.task, name, kept)
            else:
                self._keep(name, timed.peak, timed.energy_j)
                self.measured = replace(self.measured, warmup=self.measured.warmup or timed.warmup)
                self.texts = timed.texts or self.texts
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

    def _keep(self, stage: Stage, peak: StagePeak | None, energy: float | None) -> None:
        if peak is not None and stage == Stage.RENDER:
            self.measured = replace(self.measured, whole=peak)
        elif peak is not None and stage == Stage.DENOISE:
            self.measured = replace(self.measured, denoise=peak)
        elif peak is not None:
            self.measured = replace(self.measured, decode=peak)
        if energy is not None:
            self.measured = replace(self.measured, energy_j=(self.measured.energy_j or 0.0) + energy)

    def share(self, job: Job, images: int) -> Way:
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
        return replace(
            self, task=job.task, measured=measured, texts_by=job.texts_by, texts=job.texts, batch=images
        )

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
            texts=self.texts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to render: its task, and the embeddings of its texts, the prompt's first."""

    task: Task
    embeds: Sequence[bytes] = ()
    """None where the pipeline is called whole."""
    encoded: StagePeak | None = None
    """What encoding these texts took."""
    texts: tuple[TextTokens, ...] = ()
    """How much of them was read, where their embeddings say so."""
    texts_by: str = ""
    """The rung by which its texts were encoded, because the card had no room for their encoder."""
