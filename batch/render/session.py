"""A loaded, warm pipeline on one device, stage by stage: texts, then latents, then pixels.

:mod:`batch.render.image` puts the stages together and decides what happens when one fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
import torch
from diffusers import DiffusionPipeline

from batch.base.errors import CannotGoOn, StopRun, UserError
from batch.catalogue.families import FAMILIES as RULES
from batch.records.kinds import ErrorKind, HappeningKind, Stage
from batch.records.reading import to_json
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Call
from batch.render import cuts, failures, loading, memory, pieces, schedulers, tokens
from batch.render import device as devices
from batch.render.backend import TOKENS, Loads, Timed
from batch.render.failures import BadPicture
from batch.render.families import generic
from batch.render.families.table import FAMILIES, encode
from batch.render.guards import Flaw, check_pixels
from batch.render.loaded import Loaded
from batch.render.meter import Meter, Reading
from batch.render.oddities import Oddities
from batch.render.pixels import assemble
from batch.render.shelf import Shelf

if TYPE_CHECKING:
    from batch.records.receipts import TextTokens
    from batch.render.backend import Heartbeat, Oddity
    from batch.render.guards import Pixels

T = TypeVar("T")


class DiffusersSession:
    """A :class:`batch.render.backend.Session` of a pipeline of diffusers; its latents are tensors."""

    def __init__(self, source: ModelSource, dtype: str, device: str, *, measure: bool = False) -> None:
        loading.quiet()
        self._source = source
        self._dtype = dtype
        self._device = device
        self._meter = Meter(device, from_empty=measure)  # before CUDA takes anything
        devices.use(device)
        self._shelf = Shelf(device, keeps=source.keeps_encoders)
        self._oddities = Oddities()
        self._load_s: float | None = None
        self._beat: Heartbeat | None = None

    @property
    def pipe(self) -> DiffusionPipeline:
        """The pipeline that is loaded."""
        return self._loaded.pipe

    @property
    def _loaded(self) -> Loaded:
        assert self._shelf.at_work is not None  # prepare() comes before
        return self._shelf.at_work

    @property
    def staged(self) -> bool:
        """See :class:`batch.render.backend.Session`."""
        return RULES[self._source.family].staged

    @property
    def meter(self) -> Meter:
        """See :class:`batch.render.backend.Session`."""
        return self._meter

    @property
    def compiled(self) -> bool:
        """See :class:`batch.render.backend.Session`."""
        return self._shelf.at_work is not None and self._shelf.at_work.compiler.on

    @property
    def scheduler(self) -> Mapping[str, Any]:
        """See :class:`batch.render.backend.Session`."""
        found = getattr(self.pipe, "scheduler", None)
        return schedulers.recorded(found) if hasattr(found, "config") else {}

    def take_load_s(self) -> float | None:
        """See :class:`batch.render.backend.Session`."""
        taken, self._load_s = self._load_s, None
        return taken

    def take_excuse(self) -> str:
        """See :class:`batch.render.backend.Session`."""
        compiler = self._loaded.compiler
        taken, compiler.excuse = compiler.excuse, ""
        return taken

    def take_objections(self) -> list[Oddity]:
        """See :class:`batch.render.backend.Session`."""
        return self._oddities.take()

    def cannot_compile(self) -> None:
        """See :class:`batch.render.backend.Session`."""
        self._loaded.compiler.give_up(self.pipe)

    def encode(self, task: EncodeTask, beat: Heartbeat) -> Timed[bytes]:
        """See :class:`batch.render.backend.Session`."""
        on_cpu = any(step.name == "text_encoder_cpu" for step in task.memory_steps)
        reading = Reading()
        try:
            self._load(Loads.TEXTS_ON_CPU if on_cpu else Loads.TEXTS, task)
            beat(Stage.ENCODE, 0, 0)
            if self._loaded.put_loras(task.loras) and not on_cpu:
                memory.apply_to_texts(self.pipe, task.memory_steps, self._device)
            with self._meter.stage() as reading:
                where = "cpu" if on_cpu else self._device
                embeds, counted = encode(self.pipe, self._source.family, task, where)
                data = {name: tensor.cpu().contiguous() for name, tensor in embeds.items()}
        except (StopRun, UserError) as error:
            if not failures.is_out_of_memory(error) or on_cpu:
                raise
            failed = failures.failed(error.__cause__ or error, Stage.ENCODE)
        except Exception as error:
            if lost := failures.lost(error):
                raise lost from error
            if not failures.is_out_of_memory(error):
                # The texts come first and are small: what fails here fails for every image of the model.
                raise CannotGoOn(f"the text {task.text[:60]!r} cannot be encoded: {error}") from error
            failed = failures.failed(error, Stage.ENCODE, reading.peak)
        else:
            assert reading.peak is not None  # set when the stage has ended
            notes = {TOKENS: json.dumps(to_json(counted))} if counted else None
            return Timed(safetensors.torch.save(data, notes), reading.peak)
        beside = self._shelf.is_full
        self.close()
        if beside:  # what renders, for which there was room by arithmetic only
            return self.encode(task, beat)
        raise failed

    def prepare(self, part: Loads, task: Task, *, compiled: bool = False) -> tuple[Call, ...]:
        """See :class:`batch.render.backend.Session`."""
        return self._load(part, task).prepare(task, compiled=compiled)

    def denoise(
        self, tasks: Sequence[Task], embeds: Sequence[Sequence[bytes]], steps: tuple[Call, ...], beat: Heartbeat
    ) -> Timed[torch.Tensor]:
        """See :class:`batch.render.backend.Session`."""
        texts = [[safetensors.torch.load(data) for data in item] for item in embeds]
        task = tasks[0]

        def on_step(step: int) -> None:
            beat(Stage.DENOISE, step, task.steps)

        def work() -> torch.Tensor:
            with cuts.cut(self.pipe, steps, tasks):
                latents = FAMILIES[self._source.family].denoise(self.pipe, tasks, texts, self._device, on_step)
            if not bool(torch.isfinite(latents).all()):
                self._object(
                    Flaw.LATENTS_NOT_FINITE, "the latents hold numbers that are not finite (NaN or infinite)"
                )
            return latents

        return self._run(Stage.DENOISE, task, steps, beat, work)

    def decode(
        self, task: Task, latents: torch.Tensor, steps: tuple[Call, ...], beat: Heartbeat, *, float32: bool = False
    ) -> Timed[Pixels]:
        """See :class:`batch.render.backend.Session`."""

        def work() -> Pixels:
            on_cpu = any(step.name == "vae_cpu" for step in steps) and self._device != "cpu"
            with self._loaded.autoencoder(float32=float32 or on_cpu, on_cpu=on_cpu):
                where = "cpu" if on_cpu else self._device
                picture = assemble(FAMILIES[self._source.family].decode(self.pipe, task, latents.to(where)))
            if not picture.finite:
                self._object(
                    Flaw.PIXELS_NOT_FINITE,
                    "the decoded picture holds numbers that are not finite (NaN or infinite)",
                )
            check_pixels(picture.pixels, task.width, task.height, self._object)
            return picture.pixels

        return self._run(Stage.DECODE, task, steps, beat, work)

    def whole(self, task: Task, steps: tuple[Call, ...], beat: Heartbeat) -> Timed[Pixels]:
        """See :class:`batch.render.backend.Session`."""
        texts: tuple[TextTokens, ...] = ()

        def work() -> Pixels:
            nonlocal texts
            with (
                tokens.watched(self.pipe, task.prompt) as prompt,
                tokens.watched(self.pipe, task.negative_prompt) as negative,
            ):
                pixels = generic.call(self.pipe, task, lambda step: beat(Stage.RENDER, step, task.steps))
            if pieces.asked(task):
                texts = generic.counted(self.pipe, task)
            elif prompt.tokens is not None:
                texts = (prompt.tokens, *([negative.tokens] if negative.tokens else []))
            check_pixels(pixels, task.width, task.height, self._object)
            return pixels

        return replace(self._run(Stage.RENDER, task, steps, beat, work), texts=texts)

    def latents_bytes(self, latents: torch.Tensor) -> bytes:
        """See :class:`batch.render.backend.Session`."""
        return safetensors.torch.save({"latents": latents.cpu().contiguous()})

    def latents_from(self, data: bytes) -> torch.Tensor:
        """See :class:`batch.render.backend.Session`."""
        try:
            return safetensors.torch.load(data)["latents"]
        except (safetensors.SafetensorError, KeyError) as error:
            raise failures.failed(error, Stage.DECODE) from None

    def anew(self) -> None:
        """See :class:`batch.render.backend.Session`."""
        self._load_s = None
        self._oddities.forget()
        self._shelf.anew()

    def close(self) -> None:
        """See :class:`batch.render.backend.Session`."""
        self._shelf.clear()

    def _object(self, flaw: Flaw, message: str) -> None:
        """A guard's finding: no picture. Random weights make none, and that is said once a kind, no failure."""
        if not self._source.random:
            raise BadPicture(message)
        self._oddities.tell(HappeningKind.RANDOM_WEIGHTS, message, once=flaw)

    def _run(
        self, stage: Stage, task: Task, steps: tuple[Call, ...], beat: Heartbeat, work: Callable[[], T]
    ) -> Timed[T]:
        """One stage: set up, measured, and every failure as a :class:`~batch.render.failures.StageFailed`."""
        model, compiler = self._loaded, self._loaded.compiler
        self._beat = beat
        beat(stage, 0, 0)
        reading, before, compiled = Reading(), self._meter.energy(), compiler.compiled()
        try:
            # What a memory setting moves there and back is part of what it costs.
            with self._meter.stage() as reading:
                model.set_up(stage, task, steps)
                value = work()
                memory.rest(model.pipe)
        except (StopRun, UserError, KeyboardInterrupt):
            model.give_up()
            raise
        except Exception as error:  # whatever a pipeline raises is this stage's failure
            if lost := failures.lost(error):
                raise lost from error
            # Of a compiled model it may be the compiler's, which rendering without it gets around.
            if not compiler.on and (hopeless := failures.unsuited(error)):
                raise hopeless from error
            failed = failures.failed(error, stage, reading.peak)
        else:
            after = self._meter.energy()
            used = after - before if after is not None and before is not None else None
            assert reading.peak is not None
            return Timed(value, reading.peak, used, warmup=compiler.compiled() != compiled)
        # Out of the handler: the exception's frames hold the stage's tensors until it is gone.
        if failed.info.kind == ErrorKind.OUT_OF_MEMORY:
            self._shelf.lighten()
        model.give_up()
        raise failed

    def _load(self, part: Loads, task: Task | EncodeTask) -> Loaded:
        """Have these components at work, and no others but where there is room: text encoders are large.

        They are loaded for a task: its memory setting says whether they go to the device or stay in host memory,
        and what is done to them for good.
        """
        settled: tuple[object, ...] = ()
        if isinstance(task, EncodeTask):
            settled = loading.kept_steps(part, task)
        elif part == Loads.IMAGES:
            settled = memory.loaded_as(task.memory_steps, task.loras)
        if there := self._shelf.find(part, settled):
            return there
        start = time.perf_counter()
        try:
            pipe, burden = self._read(part, task)
        except UserError:
            devices.give_back(self._device)
            raise
        except Exception as error:
            devices.give_back(self._device)
            raise loading.explained(error, self._source) from error
        self._load_s = (self._load_s or 0.0) + time.perf_counter() - start
        self._shelf.at_work = made = Loaded(pipe, part, settled, self._device, self._oddities, burden)
        # A tile that begins to be decoded is a sign of life: a whole picture may take minutes on a CPU.
        decoder, tiles = getattr(getattr(pipe, "vae", None), "decoder", None), count(1)
        if decoder is not None:
            decoder.register_forward_pre_hook(
                lambda _module, _inputs: self._beat(Stage.DECODE, next(tiles), 0) if self._beat else None
            )
        return made

    def _read(self, part: Loads, task: Task | EncodeTask) -> tuple[DiffusionPipeline, memory.Burden | None]:
        where = (self._source, self._dtype, self._device)
        if isinstance(task, EncodeTask):
            return loading.encoders(*where, task, part), None
        burden = loading.burden(*where, part)
        return loading.renderers(*where, task, part, burden), burden
