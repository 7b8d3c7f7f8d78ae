"""Session and store together: one task done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING

from batch.base import regular
from batch.base.errors import NeverLoads, UserError
from batch.base.text import timestamp
from batch.catalogue.families import FAMILIES
from batch.engines.prompts import PromptEncoder
from batch.engines.saving import Beside, Saver
from batch.engines.warm import Warm
from batch.plan.alike import size_name
from batch.records.events import Happening, Listener
from batch.records.kinds import ErrorKind, HappeningKind, Stage, Status
from batch.records.receipts import ErrorInfo, Measurement, Outcome
from batch.records.spec import Numerics, RunSpec
from batch.records.tasks import EncodeTask, Task
from batch.render.image import Renderer
from batch.render.way import Rendered, RenderError
from batch.store import measured
from batch.store.embeds import EmbedCache
from batch.store.folder import RunFolder
from batch.store.rungs import RungFile

if TYPE_CHECKING:
    from batch.engines.messages import Assignment
    from batch.render.backend import Backend
    from batch.render.way import Job


class Worker:
    """Keeps the session a task needs warm, and saves behind the next image.

    ``warm`` is the session that an earlier run has left in this process. Raises :class:`UserError` where latents
    are asked of a pipeline that is called whole.
    """

    def __init__(
        self, spec: RunSpec, backend: Backend, listener: Listener, stop: Event, warm: Warm | None = None
    ) -> None:
        whole = [name for name, source in spec.models.items() if not FAMILIES[source.family].staged]
        if whole and (spec.keep_latents or spec.latents):
            raise UserError(
                f"{whole[0]} has no latents to keep: its pipeline is called whole; leave out keep_latents for it"
            )
        self._spec, self._listener = spec, listener
        self._folder = RunFolder(Path(spec.root), spec.runner, spec.held)
        machine = backend.describe(spec.device)
        card = machine.device
        if spec.vram_limit is not None:  # what rungs hold for: a card held to a limit is another one
            machine = replace(machine, vram_limit=spec.vram_limit)
            card = f"{machine.device} held to {spec.vram_limit}"
            said = backend.cap(spec.device, spec.vram_limit)
            listener.on(Happening(kind=HappeningKind.VRAM_LIMIT, text=said))
        if spec.measure:
            measured.claim(self._folder.state, machine, spec.runner, empty=self._is_empty)
        self._rungs = RungFile(self._folder.state, card, spec.runner)
        self._saver = Saver(self._folder, spec, machine, listener)
        beside = Beside(listener, self._saver)
        self._warm = Warm(spec, backend, beside, stop, warm)
        self._prompts = PromptEncoder(spec, EmbedCache(Path(spec.cache)), self._rungs, self._warm, listener)
        self._since, self._encoding_s = perf_counter(), 0.0

    def _is_empty(self) -> bool:
        scan = self._folder.scan()
        return not scan.receipts and not scan.failures

    def close(self) -> None:
        """Finish what is being saved and give the device back."""
        self.leave().close()

    def leave(self) -> Warm:
        """Finish what is being saved; the session goes on with another run."""
        self._saver.close()
        return self._warm

    def work(self, given: Assignment) -> Iterator[Outcome]:
        """Do one task; yields the outcomes that are ready, of this task or of earlier ones.

        The listener is told in their place those of images that were saved while others are at work. Raises
        :class:`LoadFailed` where its model cannot be loaded: what a user can put right there is of that model, and
        others may be rendered.
        """
        try:
            yield from self._work(given)
        except UserError as error:
            never = NeverLoads(str(error))
            never.exit_code = error.exit_code  # of a run that has no other model
            raise never from error

    def _work(self, given: Assignment) -> Iterator[Outcome]:
        task = given.task
        if isinstance(task, EncodeTask):
            outcome = self._prompts.measure(task) if self._spec.measure else self._prompts.encode(task)
            if outcome.status == Status.DONE:
                self._encoding_s += outcome.seconds
            yield outcome
            yield from self._saver.ready()  # of the images before a portion of many texts
            return
        missing = []
        for image in (task, *given.more):
            receipt = self._folder.receipt(image.id) if image.id not in self._spec.redo else None
            if receipt is None:
                missing.append(image)
            else:  # another runner's work on a disk without locks
                yield Outcome(key=image.id, status=Status.DONE, receipt=receipt)
        if missing:
            yield from self._render(missing, given)

    def drain(self) -> Iterator[Outcome]:
        """Wait for everything that is being saved. Raises, after that, what kept an image from being saved."""
        return self._saver.drain()

    def _render(self, tasks: Sequence[Task], given: Assignment) -> Iterator[Outcome]:
        now, call_counted = timestamp(), False
        for task, made in self._made(tasks, given):
            attempt = self._saver.attempt(task, now)
            shares = 1
            if isinstance(made, Rendered) and made.batch > 1:
                # The call that they share lies before the first of them.
                shares, call_counted = (0 if call_counted else made.batch), True
            measurement = self._with_rest(made.measurement, shares)
            if isinstance(made, RenderError):
                # Elsewhere each image of a batch that failed has been tried alone.
                images = len(tasks) if self._spec.measure else 1
                # Who else is on the card may be why an image failed.
                measurement = replace(measurement, card=self._warm.card())
                yield self._saver.failed(attempt, made.info, measurement, batch=images)
            else:
                self._saver.put(attempt, replace(made, measurement=measurement))
            yield from self._saver.ready()

    def _with_rest(self, cost: Measurement, shares: int) -> Measurement:
        """With the time since the image before that is in no stage; its denoising counts ``shares`` times."""
        now = perf_counter()
        stages = sum(stage.seconds for stage in (cost.decode, cost.whole) if stage is not None)
        denoised = 0.0 if cost.denoise is None else cost.denoise.seconds * shares
        spent = (cost.load_s or 0.0) + denoised + stages + self._encoding_s
        rest = max(0.0, now - self._since - spent)
        self._since, self._encoding_s = now, 0.0
        return replace(cost, between_s=rest)

    def _made(self, tasks: Sequence[Task], given: Assignment) -> Iterator[tuple[Task, Rendered | RenderError]]:
        """Each image, rendered, or why it is not; of a batch one after the other."""
        first = tasks[0]
        renderer = Renderer(
            session=self._warm.session(first),
            device=self._spec.device,
            rungs=self._rungs,
            fallback=self._spec.fallback,
            tell=self._listener.on,
            keep_latents=self._spec.keep_latents,
            strict=self._spec.measure,
            compiled=self._spec.numerics.get(size_name(first), Numerics()).compile,
        )
        jobs: list[Job] = []
        encoded = dict(given.encoded)
        for task in tasks:
            try:
                if task.id in self._spec.latents:
                    yield task, self._redecoded(renderer, task)
                else:
                    jobs.append(self._prompts.job(task, encoded))
            except RenderError as error:
                yield task, error
        if jobs:
            name = jobs[0].task.name + (f" and {len(jobs) - 1} more" if len(jobs) > 1 else "")
            beat = self._warm.heartbeat(name, tuple(job.task.id for job in jobs))
            made = renderer.together(jobs, beat, step_down=given.step_down)
            yield from ((job.task, image) for job, image in made)

    def _redecoded(self, renderer: Renderer, task: Task) -> Rendered:
        try:
            # SANA's take an eighth of a byte for each pixel, those of other models one.
            most = 16 * task.rendered_width * task.rendered_height + 2**20
            latents = regular.read(Path(self._spec.latents[task.id]), most)
        except (OSError, ValueError) as error:
            info = ErrorInfo(
                kind=ErrorKind.MISSING_LATENTS, message=f"no latents can be read: {error}", stage=Stage.DECODE
            )
            raise RenderError(info, Measurement()) from None
        return renderer.redecode(task, latents, self._warm.heartbeat(task.name, (task.id,)))
