"""Which tasks are alike, and for what. Every such question of the program is answered here, once. Pure.

Keys are plain tuples, since a million tasks are asked; what stands in files has a name of its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from operator import attrgetter

from batch.records.receipts import Receipt
from batch.records.tasks import EncodeTask, Task

PICTURE_AXES = frozenset({"prompt", "negative_prompt", "style", "seed"})
"""What differs between the pictures of one setting, as a manifest has it."""

PICTURE_FIELDS = PICTURE_AXES | {"prompt_template", "id", "picture_id", "name", "source"}
"""The fields in which the pictures of one setting differ."""

SUBJECT_FIELDS = ("model", "prompt", "negative_prompt", "seed", "width", "height")
"""What a picture shows, however it is rendered."""

SessionKey = tuple[str, str]
"""Model and dtype."""

LoadKey = tuple[str, str, str]
"""Model, dtype, and the place of an autoencoder; empty where the model has its own."""

SizeKey = tuple[str, str, int, int]
"""Model, dtype, width and height rendered."""

_CALL = attrgetter(*(name for name in Task.__slots__ if name not in PICTURE_FIELDS))
_SETTING = attrgetter(*(name for name in Task.__slots__ if name not in PICTURE_FIELDS | {"repeat", "warmup"}))
_SUBJECT = attrgetter(*SUBJECT_FIELDS)
_PACE = attrgetter(
    "model", "revision", "dtype", "width", "height", "rendered_width", "rendered_height", "steps", "guidance",
    "scheduler", "loras", "vae", "extra", "memory", "memory_steps", "format", "format_options",
)  # fmt: skip


def session_key(task: Task | EncodeTask) -> SessionKey:
    """One model that is loaded serves them."""
    return (task.model, task.dtype)


def load_key(task: Task | EncodeTask) -> LoadKey:
    """The same files are loaded for them."""
    return (*session_key(task), task.vae.path if isinstance(task, Task) and task.vae else "")


def size_key(task: Task) -> SizeKey:
    """One decision about batches and compiling holds for them, and the rungs taken when memory ran out."""
    return (task.model, task.dtype, task.rendered_width, task.rendered_height)


def size_name(task: Task) -> str:
    """:func:`size_key` as pins, a worker's orders and ``rungs.json`` have it."""
    return f"{task.model} | {task.dtype} | {task.rendered_width}x{task.rendered_height}"


def texts_key(task: Task) -> Hashable:
    """They have the same texts: to be asked of a million, each of which has a prompt with many others."""
    return (
        session_key(task), task.revision, task.prompt, task.negative_prompt, task.guidance, task.extra, task.loras,
        task.long_prompts, task.prompt_syntax, task.memory_steps,
    )  # fmt: skip


def call_key(task: Task) -> Hashable:
    """They may go into one call of the model: all is the same but texts and seed."""
    key: Hashable = _CALL(task)
    return key


def setting_key(task: Task) -> Hashable:
    """They are measured together, in one fresh process: as :func:`call_key`, whichever repeat it is."""
    key: Hashable = _SETTING(task)
    return key


def subject_key(task: Task) -> Hashable:
    """They show the same, however they are rendered."""
    key: Hashable = _SUBJECT(task)
    return key


def wall_key(task: Task) -> Hashable:
    """A size of them that did not fit tells about the others. Steps and scheduler take no memory."""
    return (
        task.model, task.revision, task.dtype, task.memory, task.memory_steps, task.guidance, task.loras,
        task.extra,
    )  # fmt: skip


def forecast_key(task: Task) -> Hashable:
    """One prediction of memory is told for them: that of the one that takes most."""
    return (
        task.model, task.dtype, task.size, task.rendered_width, task.rendered_height, task.memory,
        task.memory_steps,
    )  # fmt: skip


def pace_key(task: Task) -> Hashable:
    """They take as long, and as much of the disk, as far as that can be told before."""
    key: Hashable = _PACE(task)
    return key


def cost_key(receipt: Receipt) -> Hashable:
    """They should have taken as long and as much memory, as far as a receipt says what decides it."""
    task = receipt.task
    return (
        *size_key(task), task.steps,
        task.guidance > 0, task.guidance > 1,  # families differ in where it begins to act
        task.scheduler, task.loras, task.extra, receipt.memory_used or task.memory, receipt.machine.host,
        receipt.machine.device, receipt.batch, receipt.compile,
    )  # fmt: skip
