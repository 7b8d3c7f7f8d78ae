"""What an exception from a pipeline means: out of memory in all its forms, a card that is lost, a bad picture.

Torch-free, so that the stand-in session fails in the same words as the real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from batch.errors import DeviceLost, TaskError
from batch.records import INVALID, OUT_OF_MEMORY, ErrorInfo, StagePeak

_MEMORY_CLASSES = {"OutOfMemoryError", "MemoryError"}
_MEMORY_TEXTS = (
    "out of memory",  # CUDA, HIP, MPS, XPU, and errors that come as plain RuntimeError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "HOST_ALLOCATION_FAILED",
    "can't allocate memory",  # torch's CPU allocator
    "Cannot allocate memory",
    "Unable to find a valid cuDNN algorithm",  # cuDNN found no room for any workspace
)

_LOST_TEXTS = (
    "illegal memory access",
    "device-side assert",
    "misaligned address",
    "illegal instruction",
    "invalid program counter",
    "unspecified launch failure",
    "hardware stack error",
    "uncorrectable ECC",
    "has fallen off the bus",
    "GPU is lost",
    "device is being removed",
    "CUDA driver error: unknown error",
    "CUDA error: unknown error",
)
"""After these every call into CUDA of the same process fails: the context is broken for good."""


class StageFailed(TaskError):  # noqa: N818 - reads as what happened
    """One stage of one image failed; ``peak`` is what it took until then."""

    def __init__(self, info: ErrorInfo, peak: StagePeak | None = None) -> None:
        super().__init__(info.message, stage=info.stage)
        self.info = info
        self.peak = peak

    @property
    def out_of_memory(self) -> bool:
        """Whether a smaller memory setting may help."""
        return self.info.kind == OUT_OF_MEMORY


class BadPicture(Exception):  # noqa: N818 - reads as what happened
    """Latents or pixels that are no picture: not finite, of one colour, of a wrong size."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or in the host, in whatever form the library says it."""
    for cause in _chain(error):
        if type(cause).__name__ in _MEMORY_CLASSES or any(text in str(cause) for text in _MEMORY_TEXTS):
            return True
        # SANA's call swallows the error in its decode stage and then misses its result.
        if isinstance(cause, UnboundLocalError) and "'image'" in str(cause):
            return True
    return False


def lost(error: BaseException) -> DeviceLost | None:
    """The error that ends this process's use of the card, if it is one."""
    for cause in _chain(error):
        if any(text in str(cause) for text in _LOST_TEXTS):
            return DeviceLost(f"the card does not answer this process any more: {first_line(cause)}")
    return None


def error_info(error: BaseException, stage: str) -> ErrorInfo:
    """An exception as a receipt of failure keeps it."""
    kind = type(error).__name__
    if isinstance(error, BadPicture):
        kind = INVALID
    elif is_out_of_memory(error):
        kind = OUT_OF_MEMORY
    return ErrorInfo(kind=kind, message=first_line(error), stage=stage, requested=_requested(error))


def first_line(error: BaseException) -> str:
    """What an error says first, with the line that a colon announces; its name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
    return re.sub(r"for '(.+)' at '\1'", r"'\1'", said)  # diffusers names a file of weights twice


def _requested(error: BaseException) -> int | None:
    asked = re.search(r"[Tt]ried to allocate ([\d.]+) ?(bytes|[KMG]iB)", str(error))
    if asked is None:
        asked = re.search(r"you tried to allocate ([\d.]+) (bytes)", str(error))
    unit = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    return int(float(asked[1]) * unit[asked[2]]) if asked else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
