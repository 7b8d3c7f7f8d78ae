"""What became of an image, what it cost, and who made it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from batch.records.kinds import ErrorKind, Status
from batch.records.tasks import Task
from batch.records.values import Amount, Count, Length

N = TypeVar("N", int, float)


def largest(values: Iterable[N | None]) -> N | None:
    """The largest of what is known; None where nothing is."""
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePeak:
    """Time and peak memory of one stage. ``None`` means not known on this device."""

    seconds: Amount = 0.0
    allocated: Count | None = None
    reserved: Count | None = None
    device: Count | None = None
    rss: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardState:
    """How the card was when an image was done: what tells throttling from a leak when a run becomes slower."""

    temperature_c: int | None = None
    clock_mhz: int | None = None
    """Of the multiprocessors."""
    power_w: float | None = None
    throttled: str = ""
    """Why the driver holds the clock down, in its words; empty when it does not."""
    foreign: int = 0
    """Processes of others that computed on the card meanwhile."""


def together(parts: Sequence[StagePeak]) -> StagePeak:
    """Stages that ran one after the other: seconds add up, of each peak the largest counts."""
    return StagePeak(
        seconds=sum(part.seconds for part in parts),
        allocated=largest(part.allocated for part in parts),
        reserved=largest(part.reserved for part in parts),
        device=largest(part.device for part in parts),
        rss=largest(part.rss for part in parts),
    )


LOST = 200
"""Letters that are kept of what was cut off a text: enough to see where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTokens:
    """How much of a text its encoder has read."""

    tokens: Count
    """Of the text, without what stands around it."""
    read: Count
    """Of these; the others are not in the picture."""
    lost: str = ""
    """The beginning of what was not read."""

    @classmethod
    def of(cls, tokens: int, read: int, lost: str) -> TextTokens:
        """With as much of what was lost as is kept."""
        return cls(tokens=tokens, read=read, lost=lost.strip()[:LOST])

    @property
    def cut(self) -> int:
        """Tokens that were not read."""
        return self.tokens - self.read

    @property
    def said(self) -> str:
        """What there is to say of a text that was cut, behind its beginning."""
        return f"is too long: of {self.tokens} tokens {self.read} are read. Lost: “{self.lost}”"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one image cost. ``load_s`` is set on the first image after a load only, and holds text encoders too.

    A pipeline that is called whole has ``whole`` and none of the three stages.
    """

    load_s: Amount | None = None
    encode: StagePeak | None = None
    denoise: StagePeak | None = None
    decode: StagePeak | None = None
    whole: StagePeak | None = None
    save_s: Amount | None = None
    between_s: Amount | None = None
    """Since the image before, what is in no stage and no loading: messages, a wait for a saver, a second try."""
    memory_source: str = ""
    energy_j: float | None = None
    warmup: bool = False
    card: CardState | None = None

    @property
    def _stages(self) -> list[StagePeak]:
        stages = (self.encode, self.denoise, self.decode, self.whole)
        return [stage for stage in stages if stage is not None]

    @property
    def total_s(self) -> float:
        """What the image took on the device and to disk, loading apart."""
        return sum(stage.seconds for stage in self._stages) + (self.save_s or 0.0)

    @property
    def together(self) -> StagePeak:
        """All stages as one."""
        return together(self._stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Who rendered: written into every receipt."""

    device: str = ""
    device_memory: Count | None = None
    driver: str = ""
    torch: str = ""
    diffusers: str = ""
    host: str = ""
    vram_limit: Count | None = None
    """Bytes of the card that the process was held to."""
    gpu: str = ""
    """Which card, by the UUID that ``nvidia-smi -L`` prints; "" of a CPU, and in receipts of earlier versions."""

    @property
    def kind(self) -> Machine:
        """The same of any card there that is like this one."""
        return replace(self, gpu="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """Why a task failed. ``requested`` is the allocation in bytes that did not fit, if memory ran out."""

    kind: str
    message: str
    stage: str = ""
    requested: Count | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A committed image: path relative to the run folder, size in bytes, content hash."""

    path: str
    bytes: Count
    sha256: str
    width: Length
    height: Length
    pixels_sha256: str = ""
    """Of the pixels as they are read back from the file, see :func:`batch.store.images.looks.hash_pixels`.

    Empty in receipts of earlier versions.
    """
    mtime: float | None = None
    """When the file was last modified, as the disk said right after it was written: seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The commit record of one image: it is done when this is on disk, and not before."""

    task: Task
    file: FileRef
    measurement: Measurement
    machine: Machine
    attempts: Count
    started_at: str
    degraded_from: str = ""
    """The memory setting asked for, where memory ran out and ``memory_used`` took its place."""
    memory_used: str = ""
    repaired: str = ""
    """What made a sound picture of a bad one: decoding in float32."""
    batch: Count = 1
    """Images denoised in one call with this one, itself among them."""
    compile: bool = False
    """The model was compiled."""
    scheduler: Mapping[str, object] = field(default_factory=dict)
    """The ``class`` of the scheduler at work and its configuration in effect; empty where it was not recorded."""
    texts: tuple[TextTokens, ...] = ()
    """How much of its prompt was read, and of its negative prompt where that counts; empty where not known."""
    allowed: tuple[str, ...] = ()
    """What the manifest accepts for the model and the model really used: allow_pickle, trust_remote_code."""
    schema: int = 1

    @property
    def cut(self) -> bool:
        """Whether something of its texts was not read."""
        return bool(self.cuts)

    @property
    def cuts(self) -> tuple[tuple[str, str, TextTokens], ...]:
        """Of its texts those that were not read to the end: what each is, the text, how much was read."""
        names, texts = ("prompt", "negative prompt"), (self.task.prompt, self.task.negative_prompt)
        return tuple(item for item in zip(names, texts, self.texts, strict=False) if item[2].cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a task; removed when a later attempt is committed."""

    task: Task
    error: ErrorInfo
    measurement: Measurement
    machine: Machine
    attempts: Count
    started_at: str
    batch: Count = 1
    """Images in the call that failed."""
    schema: int = 1

    @property
    def out_of_memory(self) -> bool:
        """Whether memory ran out."""
        return self.error.kind == ErrorKind.OUT_OF_MEMORY

    @property
    def is_result(self) -> bool:
        """Memory ran out while settings were measured: that is the result, no failure, and is not tried again.

        Status, verify, the table, the page, progress and the exit code all ask here. Whether a smaller setting is
        tried before it comes to that (a rung) is ``RunSpec.fallback``.
        """
        return self.task.repeat is not None and self.out_of_memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one task or one text; no pixels and no tensors."""

    key: str
    status: Status
    receipt: Receipt | None = None
    failure: Failure | None = None
    error: ErrorInfo | None = None
    seconds: float = 0.0
    encoded: StagePeak | None = None
    """What encoding a text took; None of an image, and of a text that was encoded before."""

    @property
    def record(self) -> Receipt | Failure | None:
        """What is kept of an image; None of a text."""
        return self.receipt or self.failure
