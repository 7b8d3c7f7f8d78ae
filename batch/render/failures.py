"""What an exception from a pipeline means: memory that ran out, a card that is lost or unsuited, a bad picture.

Torch-free, so that the stand-in session fails in the same words as the real one.
"""

from __future__ import annotations

import linecache
import re
from typing import TYPE_CHECKING

from batch.base.errors import CannotGoOn, DeviceLost, TaskError, chain
from batch.records.kinds import ErrorKind
from batch.records.receipts import ErrorInfo, StagePeak
from batch.render.error_texts import TABLE, Meaning

if TYPE_CHECKING:
    from batch.render.error_texts import Said

_MEMORY_CLASSES = {"OutOfMemoryError": Meaning.MEMORY, "MemoryError": Meaning.HOST_MEMORY}


class StageFailed(TaskError):  # noqa: N818 - reads as what happened
    """One stage of one image failed; ``peak`` is what it took until then."""

    def __init__(self, info: ErrorInfo, peak: StagePeak | None = None, *, in_host: bool = False) -> None:
        super().__init__(info.message, stage=info.stage)
        self.info = info
        self.peak = peak
        self.in_host = in_host
        """It was the host's memory that ran out, not the card's."""

    @property
    def out_of_memory(self) -> bool:
        """Whether a smaller memory setting may help."""
        return self.info.kind == ErrorKind.OUT_OF_MEMORY


class BadPicture(Exception):  # noqa: N818 - reads as what happened
    """Latents or pixels that are no picture: not finite, of one colour, of a wrong size."""


def failed(error: BaseException, stage: str, peak: StagePeak | None = None) -> StageFailed:
    """The failure of a stage that an exception is."""
    return StageFailed(error_info(error, stage), peak, in_host=_meaning(error) is Meaning.HOST_MEMORY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or in the host, in whatever form the library says it."""
    return _meaning(error) in (Meaning.MEMORY, Meaning.HOST_MEMORY)


def lost(error: BaseException) -> DeviceLost | None:
    """The error that ends this process's use of the card, if it is one."""
    for cause in chain(error):
        if _meaning_of(cause) is Meaning.LOST:
            return DeviceLost(f"the card does not answer this process any more: {first_line(cause)}")
    return None


def unsuited(error: BaseException) -> CannotGoOn | None:
    """The error that ends the run because nothing here can run on this card, if it is one."""
    for cause in chain(error):
        said = _said(str(cause))
        if said is not None and said.meaning is Meaning.UNSUITED:
            return CannotGoOn(f"this card cannot be used: {first_line(cause)}. What helps: {said.remedy}")
    return None


def _meaning(error: BaseException) -> Meaning | None:
    """Of an exception with those behind it; memory wins, since what comes of it has many names."""
    found = [meaning for cause in chain(error) if (meaning := _meaning_of(cause)) is not None]
    return next((item for item in found if item in (Meaning.MEMORY, Meaning.HOST_MEMORY)), next(iter(found), None))


def _meaning_of(cause: BaseException) -> Meaning | None:
    said = _said(str(cause))
    if said is not None:
        # cudaHostAlloc says of the host's memory what cudaMalloc says of the card's.
        pinned = said.text == "out of memory" and "CUDA error: " in str(cause) and _was_pinning(cause)
        return Meaning.HOST_MEMORY if pinned else said.meaning
    # SANA's call swallows the error in its decode stage and then misses its result.
    if isinstance(cause, UnboundLocalError) and "'image'" in str(cause):
        return Meaning.MEMORY
    return next(
        (_MEMORY_CLASSES[kind.__name__] for kind in type(cause).__mro__ if kind.__name__ in _MEMORY_CLASSES), None
    )


def _said(text: str) -> Said | None:
    told = _ADVICE.split(text, maxsplit=1)[0]
    return next((item for item in TABLE if item.text in told), None)


_ADVICE = re.compile(
    r"\n?(?:CUDA|HIP) kernel errors might be|\nSearch for `|\nFor debugging consider|\nCompile with `"
)
"""Where torch goes on to say what one could do: it speaks of device-side assertions whatever the error is."""


def _was_pinning(error: BaseException) -> bool:
    """Whether the line that raised an error asked for page-locked memory (``pin_memory``)."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and "pin_memory" in linecache.getline(
        place.tb_frame.f_code.co_filename, place.tb_lineno
    )


def error_info(error: BaseException, stage: str) -> ErrorInfo:
    """An exception as a receipt of failure keeps it."""
    kind = type(error).__name__
    if isinstance(error, BadPicture):
        kind = ErrorKind.INVALID
    elif is_out_of_memory(error):
        kind = ErrorKind.OUT_OF_MEMORY
    said = next((item for cause in chain(error) if (item := _said(str(cause))) is not None), None)
    message = f"{first_line(error)} ({said.remedy})" if said is not None and said.remedy else first_line(error)
    if _meaning(error) is Meaning.HOST_MEMORY:
        message = f"the host's memory ran out: {message}"
    asked = re.search(r"[Tt]ried to allocate ([\d.]+) ?(bytes|[KMG]i?B)", str(error))
    if asked is None:
        asked = re.search(r"you tried to allocate ([\d.]+) (bytes)", str(error))
    unit = {"bytes": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}  # of 1024, with and without an i
    requested = int(float(asked[1]) * unit[asked[2].replace("i", "")]) if asked else None
    return ErrorInfo(kind=kind, message=message, stage=stage, requested=requested)


def first_line(error: BaseException) -> str:
    """What an error says first, with the line that a colon announces; its name where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__
    return re.sub(r"for '(.+)' at '\1'", r"'\1'", said)  # diffusers names a file of weights twice
