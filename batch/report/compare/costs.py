"""What a setting costs on a device: times, peaks, energy, and what became of the images that are not there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from batch.memory.footprint import CONTEXT
from batch.records.kinds import Stage
from batch.report.timing import Peaks, Seconds, mib

if TYPE_CHECKING:
    from batch.report.images import ReportedImage, ShownSetting
    from batch.report.status import ImageStatus

ALLOWANCE_MIB = CONTEXT / 2**20
"""For the context, where memory on the card was not measured."""

_WORK: dict[str, str] = {
    Stage.LOAD: "loading the model",
    Stage.ENCODE: "encoding the text",
    Stage.DENOISE: "denoising",
    Stage.DECODE: "decoding",
    Stage.SAVE: "saving",
    Stage.RENDER: "rendering",
}


class MemoryKind(StrEnum):
    """What a row's memory is: measured on the card, torch's plus an allowance for the context, or host memory."""

    DEVICE = "device"
    RESERVED = "reserved"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What rendered, and the memory it was held to; no name where it is not known."""

    name: str = ""
    limit_mib: float | None = None

    def __str__(self) -> str:
        """For people: ``NVIDIA A100 (limited to 8 GiB)``."""
        return self.name if self.limit_mib is None else f"{self.name} (limited to {self.limit_mib / 1024:g} GiB)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why an image is not there."""

    status: ImageStatus
    stage: str = ""
    out_of_memory: bool = False
    requested_mib: int | None = None
    error: str = ""

    @classmethod
    def of(cls, image: ReportedImage) -> Loss:
        """Why an image that is not done is not there."""
        if image.failure is None:
            return cls(status=image.status, error=image.skipped)
        error, requested = image.failure.error, mib(image.failure.error.requested)
        if not image.failure.out_of_memory:
            return cls(status=image.status, stage=error.stage, error=str(error))
        asked = None if requested is None else round(requested)
        return cls(status=image.status, stage=error.stage, out_of_memory=True, requested_mib=asked)

    def __str__(self) -> str:
        """For people: ``out of memory while decoding, 27,136 MiB asked for``."""
        doing = f" while {_WORK.get(self.stage, self.stage)}" if self.stage else ""
        if self.out_of_memory:
            asked = "" if self.requested_mib is None else f", {self.requested_mib:,} MiB asked for"
            return f"out of memory{doing}{asked}"
        return f"{self.status}{doing}" + (f": {self.error}" if self.error else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingCosts:
    """One setting on one device in one run. Seconds are medians of images that do not warm up, MiB largest peaks.

    Images that warm up a measurement's process are none of its images, and count for peaks alone.
    """

    run: str
    device: Device
    setting: ShownSetting
    images: int = 0
    """Done."""
    timed: int = 0
    """Of these behind the medians."""
    failed: int = 0
    out_of_memory: int = 0
    """Of the failed ones."""
    skipped: int = 0
    """Not tried."""
    foreign: int = 0
    """Of the timed ones with other processes on the card."""
    seconds: Seconds = field(default_factory=Seconds)
    total_min_s: float | None = None
    total_max_s: float | None = None
    images_per_hour: float | None = None
    mp_per_s: float | None = None
    wh_per_image: float | None = None
    peaks: Peaks = field(default_factory=Peaks)
    encode: Peaks = field(default_factory=Peaks)
    denoise: Peaks = field(default_factory=Peaks)
    decode: Peaks = field(default_factory=Peaks)
    device_memory_mib: float | None = None
    """The limit, where one was set."""
    cpu: bool = False
    """No GPU rendered it."""
    lost: tuple[tuple[Loss, int], ...] = ()
    """Images that are not there, most frequent cause first."""

    def key(self, name: str) -> str | int | float:
        """What tells it from others, by a column of :func:`batch.report.compare.settings.keys`."""
        if name == "run":
            return self.run
        if name == "device":
            return str(self.device)
        value: str | int | float = getattr(self.setting, name)
        return str(value)[:10] if name == "revision" else value

    @property
    def rivals(self) -> ShownSetting:
        """What is the same for all that it can be chosen instead of: everything but memory."""
        return replace(self.setting, memory_used="", degraded_from="")

    @property
    def memory_kind(self) -> MemoryKind | None:
        """What decides whether the setting fits a card; None where nothing is known."""
        if self.peaks.device is not None:
            return MemoryKind.DEVICE
        if self.peaks.reserved is not None:
            return MemoryKind.RESERVED
        return None if self.peaks.rss is None else MemoryKind.HOST

    @property
    def memory_mib(self) -> float | None:
        """The memory of that kind."""
        if self.peaks.device is not None:
            return self.peaks.device
        return self.peaks.rss if self.peaks.reserved is None else self.peaks.reserved + ALLOWANCE_MIB

    def reaches(self, faster: SettingCosts) -> bool:
        """Whether the times of its images reach into those of a setting with a smaller median.

        Of few images on a machine that does other things too, the median alone decides nothing.
        """
        fastest, slowest = self.total_min_s, faster.total_max_s
        return fastest is not None and slowest is not None and fastest <= slowest

    @property
    def outcome(self) -> str:
        """What became of images that are not there, with how many where not of all."""
        tried = self.images + self.failed + self.skipped
        return "; ".join(
            str(loss) if count == tried else f"{loss} ({count} of {tried})" for loss, count in self.lost
        )
