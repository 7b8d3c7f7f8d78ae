"""Words that files, messages and exit codes depend on, each spelled once. Their values are those in the files."""

from __future__ import annotations

from enum import StrEnum


class RunKind(StrEnum):
    """What a manifest asks for."""

    RENDER = "render"
    MEASURE = "measure"


class Status(StrEnum):
    """What became of an image that was begun."""

    DONE = "done"
    FAILED = "failed"


class Stage(StrEnum):
    """What a worker is at with an image; ``RENDER`` is the one stage of a pipeline that is called whole."""

    LOAD = "load"
    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"
    RENDER = "render"
    SAVE = "save"


class ErrorKind(StrEnum):
    """``ErrorInfo.kind`` of what this program itself tells apart; of anything else it is the exception's class."""

    OUT_OF_MEMORY = "OutOfMemoryError"
    """Whatever form it came in."""
    MISSING_EMBEDS = "MissingEmbeds"
    """Of an image whose texts were not encoded, or whose embeddings were deleted meanwhile."""
    MISSING_LATENTS = "MissingLatents"
    """Of an image to decode again, whose latents were deleted meanwhile."""
    INVALID = "InvalidPicture"
    """Of latents or pixels that are no picture."""
    STALLED = "Stalled"
    """The worker gave no sign of life."""
    WORKER_DIED = "WorkerDied"
    NOT_LOADED = "NotLoaded"
    """The model, or the autoencoder in place of its own, cannot be loaded."""


class HappeningKind(StrEnum):
    """What a run's log tells apart."""

    STARTED = "started"
    END = "end"
    STOPPED = "stopped"
    FAILED = "failed"
    NOT_WRITTEN = "not-written"
    NO_EMBEDS = "no-embeds"
    SKIPPED = "skipped"
    OUT_OF_MEMORY = "out-of-memory"
    BATCH_FAILED = "batch-failed"
    NOT_COMPILED = "not-compiled"
    INVALID = "invalid"
    RANDOM_WEIGHTS = "random-weights"
    LORA = "lora"
    PROMPT_CUT = "prompt-cut"
    VRAM_LIMIT = "vram-limit"
    RECYCLED = "recycled"
    LOAD_FAILED = "load-failed"
    STALLED = "stalled"
    WORKER_DIED = "worker-died"
    LEFT_OVER = "left-over"
    DEVICES = "devices"
    """A run renders on several."""
    SEAT_LEFT = "seat-left"
    """A device is lost, or its workers died again and again: the others go on."""
    SEAT_JOINED = "seat-joined"
    STEPPED_ASIDE = "stepped-aside"
    FOREIGN_PROCESS = "foreign-process"
    SLOWER = "slower"
    MEMORY_GROWTH = "memory-growth"
    STOPPING = "stopping"
    PAUSED = "paused"
    RESUMED = "resumed"

    @property
    def is_a_death(self) -> bool:
        """A worker ended that was not to end."""
        return self in {self.WORKER_DIED, self.STALLED, self.LOAD_FAILED}

    @property
    def unloads(self) -> bool:
        """What was loaded is gone: a worker has to load before its next image."""
        return self.is_a_death or self in {self.RECYCLED, self.PAUSED, self.RESUMED}


RESTS = {HappeningKind.PAUSED: True, HappeningKind.RESUMED: False}
"""Whether a run rests from then on."""


class TextsKept(StrEnum):
    """What the texts in an image file hold."""

    FULL = "full"
    PARAMETERS = "parameters"
    """What A1111 writes, and galleries read; not what renders it again."""
    NONE = "none"
