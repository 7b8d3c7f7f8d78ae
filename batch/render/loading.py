"""Loads what a stage needs, straight to where it is to lie, and explains why that cannot be done."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from batch.base.errors import BatchError, LoadFailed, NeverLoads, chain
from batch.catalogue.families import FAMILIES
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Call
from batch.render import device as devices
from batch.render import failures, from_files, memory, pipelines, quantise
from batch.render.backend import Loads

if TYPE_CHECKING:
    from batch.render.memory import Burden

Load = Callable[[ModelSource, str, str, tuple[Call, ...]], DiffusionPipeline]


def encoders(source: ModelSource, dtype: str, device: str, task: EncodeTask, part: Loads) -> DiffusionPipeline:
    """The pipeline with its text encoders only, under the memory setting of a text unless they stay on the CPU."""
    steps = kept_steps(part, task)
    on_device = part == Loads.TEXTS and not memory.offloads_texts(steps)
    pipe = pipelines.load_text_encoder(source, dtype, device if on_device else "cpu")
    memory.apply_to_texts(pipe, steps, device)
    return pipe


def kept_steps(part: Loads, task: EncodeTask) -> tuple[Call, ...]:
    """The memory setting under which the text encoders are loaded."""
    return task.memory_steps if part == Loads.TEXTS else ()


def burden(source: ModelSource, dtype: str, device: str, part: Loads) -> Burden | None:
    """What rendering has loaded, known before anything is; None without a card on which it has to fit."""
    if not device.startswith("cuda"):
        return None
    return pipelines.burden(source, dtype, decoder_only=part == Loads.DECODER)


def renderers(
    source: ModelSource, dtype: str, device: str, task: Task, part: Loads, burden: Burden | None
) -> DiffusionPipeline:
    """The pipeline that renders, straight on the device unless the task's memory setting offloads."""
    load: Load = pipelines.load_whole
    if FAMILIES[source.family].staged:
        load = pipelines.load_decoder if part == Loads.DECODER else pipelines.load_without_texts
    on_card = device.startswith("cuda")
    steps = memory.setting(task, burden, device)
    cast = any(step.name == "fp8_weights" for step in task.memory_steps)  # on the card it would be there whole
    straight = (on_card or source.random) and not cast and not memory.offloads(steps)
    straight = straight or (on_card and quantise.on_card(task.memory_steps))
    try:
        return load(source, dtype, device if straight else "cpu", task.memory_steps)
    except Exception as error:
        if not (straight and on_card and failures.is_out_of_memory(error)):
            raise
    # Out of the handler, which holds what was loaded. From host memory the ladder can offload it.
    devices.give_back(device)
    return load(source, dtype, "cpu", task.memory_steps)


def explained(error: Exception, source: ModelSource) -> BatchError:
    """Why a model cannot be loaded: a card that is lost, or :class:`LoadFailed`, of what it is that cannot."""
    if lost := failures.lost(error):
        return lost
    first = failures.first_line(error).rstrip(".")
    other = next((note for note in getattr(error, "__notes__", ()) if note.startswith(from_files.OTHER)), "")
    is_checked = bool(source.revision) and not (source.file or other)
    damaged = ". If a file is damaged, `fetch --check` finds it" if is_checked else ""
    kind = NeverLoads if any(isinstance(item, SafetensorError) for item in chain(error)) else LoadFailed
    return kind(
        f"{other or f'the model {source.name}'} cannot be loaded: {type(error).__name__}: {first}{damaged}"
    )


def quiet() -> None:
    """Loading bars and notes of the libraries would tear this program's own progress apart."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
