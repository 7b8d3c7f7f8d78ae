"""Whether text encoders stay loaded beside what renders, so that texts are encoded in portions."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil

from batch.base import hardware, regular
from batch.base.errors import BatchError
from batch.base.text import gib
from batch.catalogue import architectures, precision, tensors, weights
from batch.catalogue.models import known_models
from batch.hub import folders
from batch.memory import footprint
from batch.memory.steps import OFFLOADS, TEXTS

if TYPE_CHECKING:
    from batch.catalogue.configs import Config
    from batch.records.spec import ModelSource
    from batch.records.tasks import Task

HOST_SHARE = 0.8
"""Of the host's free memory: the rest is for saving, and for whoever else is there."""

_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_ALONE = {*OFFLOADS, *TEXTS, "encode_first", "fp8_weights", "quantize"}
"""Memory steps that want the card for one half at a time, or do to it what moving would undo."""


@dataclass(frozen=True, slots=True)
class HalfSizes:
    """Bytes of a model's text encoders and of what renders."""

    texts: int
    images: int
    autoencoder: str = ""
    """Its class."""

    def work(self, pixels: int) -> int:
        """What rendering so many pixels takes beside weights at most, as far as that can be guessed."""
        return footprint.activations(self.autoencoder, pixels)


def apart(
    source: ModelSource,
    tasks: Collection[Task],
    device: str,
    *,
    limit: int | None = None,
    recycled: bool = False,
    devices: str | None = None,
    workers: int = 1,
) -> str:
    """Why a model's text encoders have to go before it renders these tasks; empty where both have room.

    ``limit`` is what the process may take of the card, in bytes; ``recycled``: a fresh process comes after so many
    images. ``workers`` render on this machine, on the ``devices`` asked for, and share its memory.
    """
    if recycled:
        return "a fresh process after so many images would load them each time (recycle_after)"
    if len({(task.dtype, task.vae.path if task.vae else "") for task in tasks}) > 1:
        return "it is loaded in several ways, one after the other"
    settings = {task.memory_steps for task in tasks}
    steps = {step.name for setting in settings for step in setting}
    if device != "cpu" and (found := sorted(steps & _ALONE)):
        return f"{found[0]} leaves no place for them"
    if len({tuple(step for step in setting if step.name in TEXTS) for setting in settings}) > 1:
        return "its memory settings encode texts in several ways"
    heaviest = max(tasks, key=lambda task: task.rendered_width * task.rendered_height)
    size = of_model(source, heaviest.dtype)
    if size is None:
        return "how large they are is not known"
    work = size.work(heaviest.rendered_width * heaviest.rendered_height)
    on_card = device.startswith("cuda")
    in_host = workers * (size.texts if on_card else size.texts + size.images + work)
    return _none_in_host(in_host, workers) or (_none_on_card(size, work, limit, devices) if on_card else "")


def _none_in_host(needed: int, workers: int) -> str:
    free = psutil.virtual_memory().available
    if needed <= HOST_SHARE * free:
        return ""
    whose = f" by {workers} workers" if workers > 1 else ""
    return f"in host memory {gib(needed)} would be taken{whose}, and {gib(free)} are free"


def _none_on_card(size: HalfSizes, work: int, limit: int | None, devices: str | None) -> str:
    memory = hardware.look(devices).memory
    there = min(memory * (1 - footprint.KEPT_BY_DRIVER) if memory else 0, limit or math.inf)
    needed = footprint.fitting(size.texts + size.images, work)
    return "" if needed <= there else f"beside what renders they take {gib(needed)} of the card"


def of_model(source: ModelSource, dtype: str) -> HalfSizes | None:
    """Of a model that is on this machine; None where that cannot be told."""
    try:
        index = _index(source)
        size = sizes(source, index, dtype)
    except (BatchError, OSError, ValueError):
        return None  # loading says what is wrong with a file
    autoencoder = weights.components(index).get("vae", ("", ""))[1]
    return size and replace(size, autoencoder=autoencoder)


def _index(source: ModelSource) -> Config:
    if source.architecture:
        return architectures.known()[source.architecture][weights.INDEX]
    return folders.index_of(Path(source.location))


def sizes(source: ModelSource, index: Config, dtype: str) -> HalfSizes | None:
    """From the headers of the files, or of random weights what the catalogue says; None where neither tells."""
    if source.architecture:
        return _catalogued(source.architecture, dtype)
    held = _file(Path(source.file), _BYTES[precision.of(source.family, dtype, "")]) if source.file else 0
    parts = {name: _component(source, dtype, name) for name in weights.components(index)}
    texts = sum(size for name, size in parts.items() if name.startswith("text_"))
    images = sum(parts.values()) - texts
    if source.file:  # which holds all of it, or all but the encoders
        return HalfSizes(texts + held, images + held)
    return HalfSizes(texts, images) if texts and images else None


def _catalogued(architecture: str, dtype: str) -> HalfSizes | None:
    """Of packaged architectures: downloads are of two bytes a number at least."""
    known = known_models().get(architecture)
    if known is None or not (known.download_gb and known.weights_gib):
        return None
    share = _BYTES[precision.of(known.family, dtype, "")] // 2
    images = round(known.weights_gib * footprint.GIB)
    return HalfSizes(round(known.download_gb * 1e9) * share, images * share)


def _component(source: ModelSource, dtype: str, name: str) -> int:
    folder = Path(source.location, name)
    itemsize = _BYTES[precision.of(source.family, dtype, name)]
    names = weights.files_of(sorted(path.name for path in folder.glob("*")), source.variant)
    return sum(_file(folder / file, itemsize) for file in names)


def _file(path: Path, itemsize: int) -> int:
    """Bytes of a file's numbers in another dtype; of a pickle no fewer than it has."""
    if path.suffix != weights.SAFETENSORS:
        return path.stat().st_size * 2
    with regular.opened(path) as stream:
        found = tensors.header(stream).tensors
    numbers: int = sum(math.prod(cast(Any, entry["shape"])) for entry in found.values())
    return numbers * itemsize


def by_model(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """The tasks of every model, by its name."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.model, []).append(task)
    return found
