"""A loaded, warm pipeline on one device, stage by stage: texts, then latents, then pixels.

:mod:`batch.render.image` puts the stages together and decides what happens when one fails.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import safetensors.torch
import torch

from batch.base.errors import CannotGoOn, LoadFailed, StopRun, UserError
from batch.catalogue import pag
from batch.catalogue.families import FAMILIES as RULES
from batch.memory.profiles import shown_steps
from batch.memory.steps import LAYERWISE
from batch.records import Call, EncodeTask, Lora, Machine, ModelSource, StagePeak, Task
from batch.render import cap as held
from batch.render import cuts, exact, failures, loras, memory, positions, quantise, schedulers
from batch.render import device as devices
from batch.render.compiling import Compiler
from batch.render.failures import BadPicture
from batch.render.families import common, flux, generic, pixart, qwen_image, sana, sana_sprint, sd3, sdxl, z_image
from batch.render.image import Beat
from batch.render.meter import Meter, Reading
from batch.render.pixels import Pixels, assemble, check_pixels

T = TypeVar("T")

FAMILIES: dict[str, Any] = {
    "sana": sana,
    "sana_sprint": sana_sprint,
    "sdxl": sdxl,
    "pixart": pixart,
    "flux": flux,
    "sd3": sd3,
    "qwen_image": qwen_image,
    "z_image": z_image,
}

Part = Literal["texts", "texts on the CPU", "images", "decoder"]
"""Which components are loaded: those that encode texts, those that render, or the autoencoder alone."""


@dataclass(frozen=True, slots=True)
class Timed(Generic[T]):
    """What a stage made, and what it cost."""

    value: T
    peak: StagePeak
    energy_j: float | None = None
    warmup: bool = False
    """The model was compiled on the way."""


class Session:
    """One model in one dtype on one device. Not for several threads at once.

    Every stage raises :class:`~batch.render.failures.StageFailed` when it fails; the session stays usable,
    and nothing of the failed stage is held on the device. :class:`~batch.base.errors.DeviceLost` says that no
    stage will work in this process again.
    """

    def __init__(
        self, source: ModelSource, dtype: str, device: str, faults: Sequence[Any] = (), *, measure: bool = False
    ) -> None:
        assert not faults  # for batch.render.fake
        quiet()
        self._source = source
        self._family: Any = FAMILIES.get(source.family)  # None where the pipeline is called whole
        self._dtype = dtype
        self._device = device
        devices.use(device)
        self._meter = Meter(device, from_empty=measure)
        self._pipe: Any = None
        self._part: Part | None = None
        self._loaded_as: tuple[Any, ...] = ()  # what of a memory setting only loading anew takes back
        self._own_scheduler: Any = None
        self._steps: tuple[Call, ...] | None = None
        self._loras: tuple[Lora, ...] | None = ()  # None: loading some has failed half-way
        self._burden: memory.Burden | None = None  # known on a card, where it has to fit
        self._objections: list[tuple[str, str]] = []
        self._objected: set[str] = set()
        self._load_s: float | None = None
        self._beat: Beat | None = None
        self._compiler = Compiler()

    @property
    def staged(self) -> bool:
        """Whether the pipeline is called in parts, and has embeddings and latents to show."""
        return RULES[self._source.family].staged

    @property
    def meter(self) -> Meter:
        """What measures the stages."""
        return self._meter

    def encode(self, task: EncodeTask, beat: Beat) -> Timed[bytes]:
        """Embeddings of one text as the bytes of a safetensors file.

        Raises :class:`~batch.render.failures.StageFailed` when memory runs out, :class:`LoadFailed` when the model
        cannot be loaded, and :class:`CannotGoOn` when the text cannot be encoded.
        """
        on_cpu = any(step.name == "text_encoder_cpu" for step in task.memory_steps)
        device = "cpu" if on_cpu else self._device
        reading = Reading()
        try:
            self._load("texts on the CPU" if on_cpu else "texts", texts=task)
            beat("encode", 0, 0)
            if self._put_loras(task.loras) and not on_cpu:
                memory.apply_to_texts(self._pipe, task.memory_steps, self._device)
            with self._meter.stage() as reading:
                embeds = self._family.encode(self._pipe, task, device)
                data = {name: tensor.cpu().contiguous() for name, tensor in embeds.items()}
        except (StopRun, UserError) as error:
            if not failures.is_out_of_memory(error) or on_cpu:
                raise
            failed = failures.failed(error.__cause__ or error, "encode")
        except Exception as error:
            if lost := failures.lost(error):
                raise lost from error
            if not failures.is_out_of_memory(error):
                # The texts come first and are small: what fails here fails for every image of the model.
                raise CannotGoOn(f"the text {task.text[:60]!r} cannot be encoded: {error}") from error
            failed = failures.failed(error, "encode", reading.peak)
        else:
            assert reading.peak is not None  # set when the stage has ended
            return Timed(safetensors.torch.save(data), reading.peak)
        self._drop()
        raise failed

    def prepare(self, part: Part, task: Task, *, compiled: bool = False) -> tuple[Call, ...]:
        """Load what a task needs, ``compiled`` where that is possible; its memory setting for this card.

        Raises :class:`LoadFailed` when the model cannot be loaded.
        """
        self._load(part, task)
        steps = self._setting(task)
        self._compiler.switch(self._pipe, on=compiled and not self._by_layers(steps))
        return steps

    def _by_layers(self, steps: tuple[Call, ...]) -> bool:
        """Whether blocks cannot be compiled for a setting, which is told once where that was not known before."""
        if LAYERWISE.isdisjoint(step.name for step in steps):
            return False
        if "layers" not in self._objected:
            self._objected.add("layers")
            self._compiler.excuse = f"{shown_steps(steps)} moves or casts its layers one by one"
        return True

    def _setting(self, task: Task) -> tuple[Call, ...]:
        """A task's memory setting, with what ``auto`` adds for the card."""
        if task.memory != "auto" or self._burden is None:
            return task.memory_steps
        # Activations are known for an image with guidance, which is two in every call.
        pixels = task.rendered_width * task.rendered_height * max(2, pag.passes(task)) // 2
        return task.memory_steps + memory.placement(self._burden, pixels, self._device)

    def take_load_s(self) -> float | None:
        """Seconds of loading since the image before, of text encoders too; once."""
        taken, self._load_s = self._load_s, None
        return taken

    @property
    def compiled(self) -> bool:
        """Whether the model at work is compiled."""
        return self._compiler.on

    @property
    def scheduler(self) -> dict[str, Any]:
        """The scheduler of the last stage and its configuration in effect, as JSON data; {} if there is none."""
        found = getattr(self._pipe, "scheduler", None)
        return schedulers.recorded(found) if hasattr(found, "config") else {}

    def take_excuse(self) -> str:
        """Why nothing is compiled though it was asked for; empty when it was told."""
        taken, self._compiler.excuse = self._compiler.excuse, ""
        return taken

    def cannot_compile(self) -> None:
        """Compiling has failed: the model is rendered as it is from now on."""
        self._compiler.give_up(self._pipe)

    def take_objections(self) -> list[tuple[str, str]]:
        """What the guards found since the last call and let pass because the weights are random."""
        taken, self._objections = self._objections, []
        return taken

    def _object(self, message: str) -> None:
        """A guard's finding: no picture. Random weights make none, and that is said once a kind, no failure."""
        if not self._source.random:
            raise BadPicture(message)
        kind = message.partition(" (")[0]
        if kind not in self._objected:
            self._objected.add(kind)
            self._objections.append(("random-weights", message))

    def denoise(
        self, tasks: Sequence[Task], embeds: Sequence[Sequence[bytes]], steps: tuple[Call, ...], beat: Beat
    ) -> Timed[torch.Tensor]:
        """Latents ``[n, ...]`` from the embeddings of each task's texts, the prompt's first, in one call.

        The tasks differ in texts and seed only. One image that is no picture fails all of them.
        """
        texts = [[safetensors.torch.load(data) for data in item] for item in embeds]
        task = tasks[0]

        def work() -> torch.Tensor:
            denoise = common.denoise_of(self._family)
            with cuts.cut(self._pipe, steps, tasks):
                latents = denoise(
                    self._pipe, tasks, texts, self._device, lambda step: beat("denoise", step, task.steps)
                )
            if not bool(torch.isfinite(latents).all()):
                self._object("the latents hold numbers that are not finite (NaN or infinite)")
            return latents

        return self._run("denoise", task, steps, beat, work)

    def decode(
        self, task: Task, latents: torch.Tensor, steps: tuple[Call, ...], beat: Beat, *, float32: bool = False
    ) -> Timed[Pixels]:
        """Pixels from latents under a memory setting; ``float32`` where the model's own precision failed."""

        def work() -> Pixels:
            on_cpu = any(step.name == "vae_cpu" for step in steps) and self._device != "cpu"
            with self._autoencoder(float32=float32 or on_cpu, on_cpu=on_cpu):
                where = "cpu" if on_cpu else self._device
                picture = assemble(self._family.decode(self._pipe, task, latents.to(where)))
            if not picture.finite:
                self._object("the decoded picture holds numbers that are not finite (NaN or infinite)")
            check_pixels(picture.pixels, task.width, task.height, self._object)
            return picture.pixels

        return self._run("decode", task, steps, beat, work)

    def whole(self, task: Task, steps: tuple[Call, ...], beat: Beat) -> Timed[Pixels]:
        """Pixels of a pipeline that is called whole."""

        def work() -> Pixels:
            pixels = generic.call(self._pipe, task, lambda step: beat(generic.STAGE, step, task.steps))
            check_pixels(pixels, task.width, task.height, self._object)
            return pixels

        return self._run(generic.STAGE, task, steps, beat, work)

    def latents_bytes(self, latents: torch.Tensor) -> bytes:
        """Latents as the bytes of a safetensors file."""
        return safetensors.torch.save({"latents": latents.cpu().contiguous()})

    def latents_from(self, data: bytes) -> torch.Tensor:
        """Latents that were kept. Raises :class:`~batch.render.failures.StageFailed` when they are none."""
        try:
            return safetensors.torch.load(data)["latents"]
        except (safetensors.SafetensorError, KeyError) as error:
            raise failures.failed(error, "decode") from None

    def _run(self, stage: str, task: Task, steps: tuple[Call, ...], beat: Beat, work: Callable[[], T]) -> Timed[T]:
        """One stage: set up, measured, and every failure as a :class:`~batch.render.failures.StageFailed`."""
        self._beat = beat
        beat(stage, 0, 0)
        reading, before, compiled = Reading(), self._meter.energy(), self._compiler.compiled()
        try:
            # What a memory setting moves there and back is part of what it costs.
            with self._meter.stage() as reading:
                self._set_up(stage, task, steps)
                value = work()
                memory.rest(self._pipe)
        except (StopRun, UserError, KeyboardInterrupt):
            self._release()
            raise
        except Exception as error:  # whatever a pipeline raises is this stage's failure
            if lost := failures.lost(error):
                raise lost from error
            # Of a compiled model it may be the compiler's, which rendering without it gets around.
            if not self._compiler.on and (hopeless := failures.unsuited(error)):
                raise hopeless from error
            failed = failures.failed(error, stage, reading.peak)
        else:
            after = self._meter.energy()
            used = after - before if after is not None and before is not None else None
            assert reading.peak is not None
            return Timed(value, reading.peak, used, warmup=self._compiler.compiled() != compiled)
        # Out of the handler: the exception's frames hold the stage's tensors until it is gone.
        self._release()
        raise failed

    def _release(self) -> None:
        """After a failure: offloaded components go back, and what the allocator keeps is given up."""
        if self._steps is not None and memory.offloads(self._steps) and memory.has_card(self._device):
            # Groups that were on their way, and layers whose turn had not ended, are where they were.
            self._steps = None
            memory.reset(self._pipe)
            self._pipe.to("cpu")
        else:
            memory.rest(self._pipe)
        devices.give_back(self._device)

    @contextmanager
    def _autoencoder(self, *, float32: bool, on_cpu: bool) -> Iterator[None]:
        """The autoencoder in float32 or on the CPU for one decoding; the setting is applied anew afterwards."""
        if not float32 and not on_cpu:
            yield
            return
        vae, device = self._pipe.vae, "cpu" if on_cpu else self._device
        own = vae.dtype
        self._steps = None
        memory.unhook(vae)
        try:
            vae.to(device, torch.float32)
            yield
        finally:
            vae.to("cpu", own)

    def close(self) -> None:
        """Give the memory back."""
        self._drop()

    def _drop(self) -> None:
        if self._pipe is None:
            return
        self._pipe = self._part = self._own_scheduler = self._steps = self._burden = None
        self._loaded_as = ()
        self._compiler = Compiler()
        self._loras = ()
        devices.give_back(self._device)

    def _load(self, part: Part, task: Task | None = None, texts: EncodeTask | None = None) -> None:
        """Have these components and no others: the text encoders are the largest part of most models.

        ``task`` is the image, or ``texts`` the text, they are loaded for: its memory setting says whether they go
        to the device or stay in host memory, and what is done to them for good.
        """
        wanted: tuple[Any, ...] = ()
        if texts is not None and part == "texts":
            wanted = texts.memory_steps
        elif task is not None and part == "images":
            wanted = memory.loaded_as(task.memory_steps, task.loras)
        if (part, wanted) == (self._part, self._loaded_as) or (part, self._part) == ("decoder", "images"):
            return
        self._drop()
        start = time.perf_counter()
        try:
            if task is None:
                device = self._device if part == "texts" and not memory.offloads_texts(wanted) else "cpu"
                self._pipe = common.load_text_encoder(self._source, self._dtype, device)
                memory.apply_to_texts(self._pipe, wanted, self._device)
            else:
                self._pipe = self._loaded(part, task)
        except UserError:
            self._drop()
            raise
        except Exception as error:
            self._drop()
            if lost := failures.lost(error):
                raise lost from error
            first = failures.first_line(error).rstrip(".")
            damaged = ". If a file is damaged, `fetch --check` finds it" if self._source.revision else ""
            raise LoadFailed(
                f"the model {self._source.name} cannot be loaded: {type(error).__name__}: {first}{damaged}"
            ) from error
        self._part, self._loaded_as = part, wanted
        self._load_s = (self._load_s or 0.0) + time.perf_counter() - start
        if not part.startswith("texts"):
            exact.settle(self._pipe)
            self._own_scheduler = self._pipe.scheduler
            self._watch_tiles()

    def _loaded(self, part: Part, task: Task) -> Any:
        """The pipeline, straight on the device unless the task's memory setting offloads."""
        load: Callable[[ModelSource, str, str, tuple[Call, ...]], Any] = generic.load
        if self.staged:
            load = common.load_decoder if part == "decoder" else common.load_without_texts
        on_card = self._device.startswith("cuda")
        if on_card:
            self._burden = common.burden(self._source, self._dtype, decoder_only=part == "decoder")
        cast = any(step.name == "fp8_weights" for step in task.memory_steps)  # on the card it would be there whole
        straight = (on_card or self._source.random) and not cast and not memory.offloads(self._setting(task))
        straight = straight or (on_card and quantise.on_card(task.memory_steps))
        try:
            return load(self._source, self._dtype, self._device if straight else "cpu", task.memory_steps)
        except Exception as error:
            if not (straight and on_card and failures.is_out_of_memory(error)):
                raise
        # Out of the handler, which holds what was loaded. From host memory the ladder can offload it.
        devices.give_back(self._device)
        return load(self._source, self._dtype, "cpu", task.memory_steps)

    def _watch_tiles(self) -> None:
        """A tile that begins to be decoded is a sign of life: a whole picture may take minutes on a CPU."""
        decoder, tiles = getattr(getattr(self._pipe, "vae", None), "decoder", None), iter(range(1, 10**9))
        if decoder is not None:
            decoder.register_forward_pre_hook(
                lambda _module, _inputs: self._beat("decode", next(tiles), 0) if self._beat else None
            )

    def _set_up(self, stage: str, task: Task, steps: tuple[Call, ...]) -> None:
        self._put_loras(task.loras)
        # Groups know the tensors they move: another table of positions is none of them.
        if stage == "denoise" and positions.put(self._pipe, task, self._device) and memory.offloads(steps):
            self._steps = None
        if self._compiler.on and self._by_layers(steps):  # a rung
            self._compiler.switch(self._pipe, on=False)
        if steps != self._steps:
            was_locked = self._steps is not None and memory.locks_pages(self._steps)
            self._steps = None  # a half-applied setting is applied again
            memory.apply(self._pipe, steps, self._device)
            self._steps = steps
            if was_locked:
                devices.give_back(self._device)
        self._pipe.scheduler = schedulers.make(self._own_scheduler, task.scheduler)

    def _put_loras(self, wanted: tuple[Lora, ...]) -> bool:
        """Have these; whether they are others than before, so that memory settings are placed anew around them."""
        if wanted == self._loras:
            return False
        self._loras = self._steps = None
        memory.reset(self._pipe)
        odd = [said for said in loras.put(self._pipe, wanted) if said not in self._objected]
        self._objections += [("lora", said) for said in odd]
        self._objected.update(odd)
        self._loras = wanted
        return True


def choose(asked: str | None) -> str:
    """The device to use: see :func:`batch.render.device.choose`."""
    return devices.choose(asked)


def cap(device: str, limit: int) -> str:
    """Hold this process to a part of the card: see :func:`batch.render.cap.cap`."""
    return held.cap(device, limit)


def describe(device: str) -> Machine:
    """The machine as receipts record it."""
    return devices.describe(device)


def quiet() -> None:
    """Loading bars and notes of the libraries would tear this program's own progress apart."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
