"""A loaded, warm pipeline on one device: encodes texts first, then renders one image after the other."""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import safetensors.torch
import torch

from batch.errors import CannotGoOn, Interrupted, TaskError, UserError
from batch.plan.catalogue import FAMILIES as RULES
from batch.records import Call, EncodeTask, ErrorInfo, Lora, Measurement, ModelSource, StagePeak, Task
from batch.render import loras, memory, schedulers
from batch.render.families import common, flux, generic, pixart, sana, sdxl
from batch.render.meter import Meter, Reading
from batch.render.pixels import Pixels, to_uint8

FAMILIES: dict[str, Any] = {"sana": sana, "sdxl": sdxl, "pixart": pixart, "flux": flux}

Part = Literal["texts", "images", "decoder"]
"""Which components are loaded: those that encode texts, those that render, or the autoencoder alone."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Pixels, what they cost, and on request the latents as denoising left them (safetensors)."""

    pixels: Pixels
    measurement: Measurement
    latents: bytes | None = None


class RenderError(TaskError):
    """A stage failed; ``measurement`` holds what was measured until then."""

    def __init__(self, info: ErrorInfo, measurement: Measurement) -> None:
        super().__init__(info.message, stage=info.stage)
        self.info = info
        self.measurement = measurement


@dataclass(slots=True)
class _Run:
    """One image on its way: the stage it is in and what was measured so far."""

    measured: Measurement
    stage: str = ""
    reading: Reading = field(default_factory=Reading)

    def keep_reading(self) -> None:
        """The stage's figures go to the measurement, also when it failed."""
        name = "whole" if self.stage == generic.STAGE else self.stage
        figures: dict[str, Any] = {name: self.reading.peak}
        self.measured = replace(self.measured, **figures)


class Session:
    """One model in one dtype on one device. Not for several threads at once."""

    def __init__(self, source: ModelSource, dtype: str, device: str) -> None:
        _quiet()
        self._source = source
        self._family: Any = FAMILIES.get(source.family)  # None where the pipeline is called whole
        self._dtype = dtype
        self._device = device
        self._meter = Meter(device)
        self._pipe: Any = None
        self._part: Part | None = None
        self._own_scheduler: Any = None
        self._steps: tuple[Call, ...] | None = None
        self._loras: tuple[Lora, ...] = ()
        self._load_s: float | None = None

    @property
    def staged(self) -> bool:
        """Whether the pipeline is called in parts, and has embeddings and latents to show."""
        return RULES[self._source.family].staged

    def encode(self, task: EncodeTask) -> tuple[bytes, StagePeak]:
        """Embeddings of one text as the bytes of a safetensors file, and what they cost.

        Raises :class:`CannotGoOn` when the model cannot be loaded or the text not be encoded.
        """
        self._load("texts")
        try:
            self._put_loras(task.loras)
            with self._meter.stage() as reading:
                embeds = self._family.encode(self._pipe, task, self._device)
                data = {name: tensor.cpu().contiguous() for name, tensor in embeds.items()}
        except UserError:
            raise
        except Exception as error:
            # The texts come first and are small: what fails here fails for every image of the model.
            raise CannotGoOn(f"the text {task.text[:60]!r} cannot be encoded: {error}") from error
        assert reading.peak is not None  # set when the stage has ended
        return safetensors.torch.save(data), reading.peak

    def render(
        self,
        task: Task,
        embeds: Sequence[bytes],
        on_step: Callable[[int], None],
        encoded: StagePeak | None,
        *,
        keep_latents: bool = False,
    ) -> Rendered:
        """Render one image from the embeddings of its texts, the prompt's first.

        ``embeds`` is empty and ``encoded`` None where the pipeline is called whole. Raises
        :class:`RenderError` when a stage fails; the session stays usable.
        """
        self._load("images")
        with self._rendering(encoded) as run:
            run.stage = "denoise" if self.staged else generic.STAGE
            self._set_up(task)
            self._put_loras(task.loras)
            self._pipe.scheduler = schedulers.make(self._own_scheduler, task.scheduler)
            if not self.staged:
                with self._stage(run, generic.STAGE):
                    pixels = generic.call(self._pipe, task, on_step)
                return Rendered(pixels, run.measured)
            texts = [safetensors.torch.load(data) for data in embeds]
            with self._stage(run, "denoise"):
                latents = common.denoise(
                    self._pipe,
                    task,
                    self._source.family,
                    texts[0],
                    texts[1] if len(texts) > 1 else None,
                    self._device,
                    on_step,
                )
            kept = _as_bytes(latents) if keep_latents else None
            with self._stage(run, "decode"):
                pixels = to_uint8(self._family.decode(self._pipe, task, latents))
            return Rendered(pixels, run.measured, kept)

    def redecode(self, task: Task, latents: bytes, *, keep_latents: bool = False) -> Rendered:
        """Decode kept latents with the task's memory setting; loads the autoencoder alone if nothing is there.

        Raises :class:`RenderError` when that fails, and :class:`UserError` where the pipeline is called whole.
        """
        if not self.staged:
            raise UserError(f"{self._source.name} is called whole: it has no latents to decode again")
        self._load("decoder")
        with self._rendering(None) as run:
            run.stage = "decode"
            self._set_up(task)
            with self._stage(run, "decode"):
                tensor = safetensors.torch.load(latents)["latents"].to(self._device)
                pixels = to_uint8(self._family.decode(self._pipe, task, tensor))
            return Rendered(pixels, run.measured, latents if keep_latents else None)

    def close(self) -> None:
        """Give the memory back."""
        self._drop()

    def _drop(self) -> None:
        if self._pipe is None:
            return
        self._pipe = self._part = self._own_scheduler = self._steps = None
        self._loras = ()
        gc.collect()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _load(self, part: Part) -> None:
        """Have these components and no others: the text encoders are the largest part of most models."""
        if self._part == part or (part, self._part) == ("decoder", "images"):
            return
        self._drop()
        start = time.perf_counter()
        try:
            if part == "texts":
                self._pipe = common.load_text_encoder(self._source, self._dtype, self._device)
            elif part == "decoder":
                self._pipe = common.load_decoder(self._source, self._dtype)
            elif self.staged:
                self._pipe = common.load_without_texts(self._source, self._dtype)
            else:
                self._pipe = generic.load(self._source, self._dtype)
        except Exception as error:
            self._drop()
            first = str(error).strip().split("\n")[0]
            raise CannotGoOn(
                f"the model {self._source.name} cannot be loaded: {type(error).__name__}: {first}"
            ) from error
        self._part = part
        if part != "texts":
            self._own_scheduler = self._pipe.scheduler
            self._load_s = time.perf_counter() - start

    @contextmanager
    def _rendering(self, encoded: StagePeak | None) -> Iterator[_Run]:
        """What every image needs around its stages: a failure becomes a :class:`RenderError`."""
        run = _Run(
            Measurement(
                load_s=self._load_s,
                encode=encoded,
                memory_source=self._meter.memory_source,
                warmup=self._load_s is not None,
            )
        )
        self._load_s = None
        try:
            yield run
        except (Interrupted, KeyboardInterrupt, UserError):
            raise
        except Exception as error:  # whatever a pipeline raises is this task's failure
            raise RenderError(_error_info(error, run.stage), run.measured) from error
        finally:
            self._pipe.maybe_free_model_hooks()  # an exception inside the call skips it

    @contextmanager
    def _stage(self, run: _Run, name: str) -> Iterator[None]:
        run.stage = name
        before = self._meter.energy()
        try:
            with self._meter.stage() as run.reading:
                yield
        finally:
            run.keep_reading()
            after = self._meter.energy()
            if after is not None and before is not None:
                run.measured = replace(run.measured, energy_j=(run.measured.energy_j or 0.0) + after - before)

    def _set_up(self, task: Task) -> None:
        steps = task.memory_steps
        if task.memory == "auto":
            steps += memory.placement(self._pipe, task.rendered_width * task.rendered_height, self._device)
        if steps != self._steps:
            self._steps = None  # a half-applied setting is applied again
            memory.apply(self._pipe, steps, self._device)
            self._steps = steps

    def _put_loras(self, wanted: tuple[Lora, ...]) -> None:
        if wanted != self._loras:
            self._loras = ()
            loras.put(self._pipe, wanted)
            self._loras = wanted


def _as_bytes(latents: torch.Tensor) -> bytes:
    return safetensors.torch.save({"latents": latents.cpu().contiguous()})


def _error_info(error: Exception, stage: str) -> ErrorInfo:
    lines = str(error).strip().split("\n")
    asked = re.search(r"[Tt]ried to allocate ([\d.]+) ([KMG]iB)", str(error))
    unit = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    return ErrorInfo(
        kind=type(error).__name__,
        message=lines[0] or type(error).__name__,
        stage=stage,
        requested=int(float(asked[1]) * unit[asked[2]]) if asked else None,
    )


def _quiet() -> None:
    """Loading bars and notes of the libraries would tear this program's own progress apart."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
