"""A loaded, warm pipeline on one device: encodes texts first, then renders one image after the other."""

from __future__ import annotations

import gc
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import safetensors.torch
import torch

from batch.errors import CannotGoOn, Interrupted, TaskError, UserError
from batch.records import Call, EncodeTask, ErrorInfo, Measurement, ModelSource, StagePeak, Task
from batch.render import memory
from batch.render.families import sana
from batch.render.meter import Meter, Reading
from batch.render.pixels import Pixels, to_uint8

FAMILIES = {"sana": sana}


@dataclass(frozen=True, slots=True)
class Rendered:
    """Pixels, what they cost, and the memory steps really in force."""

    pixels: Pixels
    measurement: Measurement
    latents: bytes | None = None
    """A safetensors file's bytes, when they were asked for."""


class RenderError(TaskError):
    """A stage failed; ``measurement`` holds what was measured until then."""

    def __init__(self, info: ErrorInfo, measurement: Measurement) -> None:
        super().__init__(info.message, stage=info.stage)
        self.info = info
        self.measurement = measurement


class Session:
    """One model in one dtype on one device. Not for several threads at once."""

    def __init__(self, source: ModelSource, dtype: str, device: str) -> None:
        _quiet()
        self._source = source
        self._family = FAMILIES[source.family]
        self._dtype = dtype
        self._device = device
        self._meter = Meter(device)
        self._encoder: Any = None
        self._pipe: Any = None
        self._own_scheduler: Any = None
        self._steps: tuple[Call, ...] | None = None
        self._loras: Any = ()
        self._load_s: float | None = None

    def encode(self, task: EncodeTask) -> tuple[bytes, StagePeak]:
        """Embeddings of one text as the bytes of a safetensors file, and what they cost.

        Raises :class:`CannotGoOn` when the model cannot be loaded or the text not be encoded.
        """
        if self._encoder is None:
            self._pipe = self._steps = None  # never both: the text encoder is the largest part of SANA
            self._free()
            self._encoder = self._loading(self._family.load_text_encoder, self._dtype, self._device)
        try:
            with self._meter.stage() as reading:
                embeds = self._family.encode(self._encoder, task, self._device)
                data = {name: tensor.cpu().contiguous() for name, tensor in embeds.items()}
        except Exception as error:
            # The texts come first and are small: what fails here fails for every image of the model.
            raise CannotGoOn(f"the text {task.text[:60]!r} cannot be encoded: {error}") from error
        assert reading.peak is not None  # set when the stage has ended
        return safetensors.torch.save(data), reading.peak

    def render(
        self,
        task: Task,
        positive: bytes,
        negative: bytes | None,
        on_step: Callable[[int], None],
        encoded: StagePeak,
        *,
        keep_latents: bool = False,
    ) -> Rendered:
        """Render one image. Raises :class:`RenderError` when a stage fails; the session stays usable."""
        self._ready()
        measured = Measurement(
            load_s=self._load_s,
            encode=encoded,
            memory_source=self._meter.memory_source,
            warmup=self._load_s is not None,
        )
        self._load_s = None
        energy = self._meter.energy()
        reading, stage = Reading(), "denoise"
        try:
            self._set_up(task)
            with self._meter.stage() as reading:
                latents = self._family.denoise(
                    self._pipe,
                    task,
                    safetensors.torch.load(positive),
                    safetensors.torch.load(negative) if negative is not None else None,
                    self._device,
                    on_step,
                )
            measured = replace(measured, denoise=reading.peak)
            kept = safetensors.torch.save({"latents": latents.cpu().contiguous()}) if keep_latents else None
            stage = "decode"
            with self._meter.stage() as reading:
                pixels = to_uint8(self._family.decode(self._pipe, task, latents))
            measured = replace(measured, decode=reading.peak)
        except (Interrupted, KeyboardInterrupt, UserError):
            raise
        except Exception as error:  # whatever a pipeline raises is this task's failure
            if stage == "denoise":
                measured = replace(measured, denoise=reading.peak)
            else:
                measured = replace(measured, decode=reading.peak)
            raise RenderError(_error_info(error, stage), measured) from error
        finally:
            self._pipe.maybe_free_model_hooks()  # an exception inside the call skips it
        after = self._meter.energy()
        used = after - energy if after is not None and energy is not None else None
        return Rendered(pixels, replace(measured, energy_j=used), kept)

    def redecode(self, task: Task, latents: bytes) -> Rendered:
        """Decode kept latents, without denoising. Raises :class:`RenderError`; the session stays usable."""
        self._ready()
        measured = Measurement(
            load_s=self._load_s, memory_source=self._meter.memory_source, warmup=self._load_s is not None
        )
        self._load_s = None
        reading = Reading()
        try:
            self._set_memory(task)
            with self._meter.stage() as reading:
                loaded = safetensors.torch.load(latents)["latents"].to(self._device)
                pixels = to_uint8(self._family.decode(self._pipe, task, loaded))
        except (Interrupted, KeyboardInterrupt, UserError):
            raise
        except Exception as error:  # as in render
            raise RenderError(_error_info(error, "decode"), replace(measured, decode=reading.peak)) from error
        finally:
            self._pipe.maybe_free_model_hooks()
        return Rendered(pixels, replace(measured, decode=reading.peak))

    def close(self) -> None:
        """Give the memory back."""
        self._encoder = self._pipe = self._own_scheduler = self._steps = None
        self._free()

    def _ready(self) -> None:
        if self._encoder is not None:
            self._encoder = None
            self._free()
        if self._pipe is None:
            start = time.perf_counter()
            self._pipe = self._loading(self._family.load, self._dtype)
            self._own_scheduler = self._pipe.scheduler
            self._load_s = time.perf_counter() - start

    def _loading(self, load: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return load(self._source, *arguments)
        except Exception as error:
            self._free()
            first = str(error).strip().split("\n")[0]
            raise CannotGoOn(
                f"the model {self._source.name} cannot be loaded: {type(error).__name__}: {first}"
            ) from error

    def _set_up(self, task: Task) -> None:
        self._set_memory(task)
        if task.loras != self._loras:
            self._set_loras(task)
        self._family.set_scheduler(self._pipe, self._own_scheduler, task)

    def _set_memory(self, task: Task) -> None:
        steps = task.memory_steps
        if task.memory == "auto":
            steps += memory.placement(self._pipe, task.rendered_width * task.rendered_height, self._device)
        if steps != self._steps:
            self._steps = None  # a half-applied setting is applied again
            memory.apply(self._pipe, steps, self._device)
            self._steps = steps

    def _set_loras(self, task: Task) -> None:
        from diffusers.utils import is_peft_available

        if not is_peft_available():
            raise UserError("LoRAs need the peft package; install it with: pip install 'run-batch[lora]'")
        self._pipe.unload_lora_weights()
        self._loras = ()
        names = [f"lora{index}" for index in range(len(task.loras))]
        for name, lora in zip(names, task.loras, strict=True):
            self._pipe.load_lora_weights(lora.path, adapter_name=name)
        if names:
            self._pipe.set_adapters(names, [lora.scale for lora in task.loras])
        self._loras = task.loras

    def _free(self) -> None:
        gc.collect()
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()


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
