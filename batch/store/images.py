"""Pixels to the bytes of an image file, with metadata that tells how to render it again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batch import __version__
from batch.records import Task, to_json

THUMB_SIDE = 384

JSON_KEY = "run_batch"
"""The text chunk that holds the whole task as JSON."""

_MACHINE_FIELDS = {"id", "picture_id", "name", "source", "style"}

# zlib level 1 with run-length strategy: a lossless PNG of 16 megapixels in 1.3 s instead of 3.7 s at the
# default level 6, and no larger on pictures with grain.
_PNG_LEVEL, _PNG_STRATEGY = 1, 3

SCHEDULER_TITLES = {"dpm++": "DPM++ 2M", "unipc": "UniPC", "deis": "DEIS", "flow-euler": "Euler"}


def parameters(task: Task) -> str:
    """The ``parameters`` text that A1111 writes and galleries read: prompt, negative prompt, settings."""
    sampler = SCHEDULER_TITLES.get(task.scheduler.name, task.scheduler.name) if task.scheduler else "DPM++ 2M"
    settings = {
        "Steps": task.steps,
        "Sampler": sampler,
        "CFG scale": f"{task.guidance:g}",
        "Seed": task.seed,
        "Size": f"{task.width}x{task.height}",
        "Model": _one_value(task.model),
        "Version": f"run_batch {__version__}",
    }
    negative = f"\nNegative prompt: {task.negative_prompt}" if task.negative_prompt else ""
    return f"{task.prompt}{negative}\n" + ", ".join(f"{key}: {value}" for key, value in settings.items())


def _one_value(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if "," in text or ":" in text else text


def rerun_json(task: Task) -> str:
    """Everything that decides the picture. No times and no machine: the same task gives the same bytes."""
    data = to_json(task)
    kept = {item.name: data[item.name] for item in fields(task) if item.name not in _MACHINE_FIELDS}
    return json.dumps({"version": 1, "task": kept}, sort_keys=True, ensure_ascii=False)


def _png(image: Image.Image, task: Task) -> bytes:
    info = PngInfo()
    info.add_text("parameters", parameters(task))
    info.add_text(JSON_KEY, rerun_json(task))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=_PNG_LEVEL, compress_type=_PNG_STRATEGY)
    return buffer.getvalue()


ENCODERS: dict[str, Callable[[Image.Image, Task], bytes]] = {"png": _png}
"""How each format is written; the key is the file's suffix too."""


def suffixes() -> set[str]:
    """The suffixes of image files, with the dot, in lower case: those written here and those Pillow knows."""
    return {f".{name}" for name in ENCODERS} | set(Image.registered_extensions())


def encode(pixels: NDArray[np.uint8], task: Task) -> bytes:
    """The image file of a task; ``pixels`` is height x width x 3."""
    return ENCODERS[task.format](Image.fromarray(pixels), task)


def thumbnail(pixels: NDArray[np.uint8]) -> bytes:
    """A WebP of at most 384 pixels a side: all that contact sheets are ever made of."""
    image: Any = Image.fromarray(pixels)
    scale = THUMB_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0) if scale < 1 else image
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=85, method=2)
    return buffer.getvalue()
