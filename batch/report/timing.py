"""What images cost, in seconds and MiB as results.csv has them, and what many of one setting cost together."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batch.records.receipts import Measurement, StagePeak, largest
from batch.records.values import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Time by stage, to a tenth of a millisecond; None where it is not known."""

    encode: float | None = None
    denoise: float | None = None
    decode: float | None = None
    save: float | None = None
    total: float | None = None

    def columns(self) -> dict[str, float | None]:
        """By names as in results.csv: ``decode_s``."""
        return {f"{stage}_s": getattr(self, stage) for stage in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Peak memory by kind in MiB, to a tenth; None where it is not known on the device."""

    allocated: float | None = None
    reserved: float | None = None
    device: float | None = None
    rss: float | None = None

    def columns(self, of: str = "peak") -> dict[str, float | None]:
        """By names as in results.csv: ``peak_allocated_mib``, or ``decode_allocated_mib`` of a stage."""
        return {f"{of}_{kind}_mib": getattr(self, kind) for kind in self.__slots__}

    @property
    def predicted(self) -> float | None:
        """What is predicted, and what stages differ in.

        What torch keeps beside it is left from the stage before.
        """
        return self.rss if self.allocated is None else self.allocated


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCosts:
    """What one image cost, or the try to make it."""

    warmup: bool
    """Not to be timed: the first one after a load is slower, as is one that warms a measurement up."""
    load_s: float | None
    between_s: float | None
    seconds: Seconds
    peaks: Peaks
    encode: Peaks
    denoise: Peaks
    decode: Peaks
    energy_j: float | None
    foreign: bool
    """Others computed on the card meanwhile."""

    @classmethod
    def of(cls, cost: Measurement, *, warmup: bool = False) -> ImageCosts:
        """As it was measured; ``warmup`` where the task is one."""
        return cls(
            warmup=warmup or cost.warmup,
            load_s=seconds(cost.load_s),
            between_s=seconds(cost.between_s),
            seconds=Seconds(
                encode=_seconds_of(cost.encode),
                denoise=_seconds_of(cost.denoise),
                decode=_seconds_of(cost.decode),
                save=seconds(cost.save_s),
                total=seconds(cost.total_s),
            ),
            peaks=_peaks_of(cost.together),
            encode=_peaks_of(cost.encode),
            denoise=_peaks_of(cost.denoise),
            decode=_peaks_of(cost.decode),
            energy_j=cost.energy_j,
            foreign=bool(cost.card and cost.card.foreign),
        )

    def columns(self) -> dict[str, Scalar]:
        """By the names of results.csv."""
        return {
            "warmup": self.warmup,
            "load_s": self.load_s,
            **self.seconds.columns(),
            "between_s": self.between_s,
            **self.peaks.columns(),
            "encode_peak_mib": self.encode.predicted,
            "denoise_peak_mib": self.denoise.predicted,
            "decode_peak_mib": self.decode.predicted,
            "energy_j": self.energy_j,
        }


def seconds(value: float | None) -> float | None:
    """To a tenth of a millisecond."""
    return None if value is None else float(round(value, 4))


def mib(value: int | None) -> float | None:
    """Bytes as MiB, to a tenth."""
    return None if value is None else round(value / 2**20, 1)


def _seconds_of(stage: StagePeak | None) -> float | None:
    return seconds(stage.seconds) if stage else None


def _peaks_of(stage: StagePeak | None) -> Peaks:
    if stage is None:
        return Peaks()
    return Peaks(
        allocated=mib(stage.allocated), reserved=mib(stage.reserved), device=mib(stage.device), rss=mib(stage.rss)
    )


# Many together


def median(values: Iterable[float | None]) -> float | None:
    """The median of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def median_seconds(done: Sequence[ImageCosts]) -> Seconds:
    """Medians of images, those that warm up left out: they are slower than the others."""
    timed = [item.seconds for item in done if not item.warmup]
    return Seconds(
        encode=median(item.encode for item in timed),
        denoise=median(item.denoise for item in timed),
        decode=median(item.decode for item in timed),
        save=median(item.save for item in timed),
        total=median(item.total for item in timed),
    )


def largest_peaks(peaks: Iterable[Peaks]) -> Peaks:
    """The largest by kind. Images that warm up are to be included: they must fit, too."""
    found = list(peaks)
    return Peaks(
        allocated=largest(item.allocated for item in found),
        reserved=largest(item.reserved for item in found),
        device=largest(item.device for item in found),
        rss=largest(item.rss for item in found),
    )
