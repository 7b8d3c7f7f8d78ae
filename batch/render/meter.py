"""Time and peak memory of a stage.

A stage is synchronised at both ends. Allocator peaks (allocated, reserved) come from torch and are exact;
the process's memory on the device (NVML) and its resident memory (RSS) are sampled every 20 ms, since
neither offers a peak per stage. Where the driver hides processes (Windows, containers) the change of the
whole device's use stands in for it, and ``memory_source`` says so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from batch.records import CardState, StagePeak

SAMPLE_SECONDS = 0.02

_SM_CLOCK, _GPU_TEMPERATURE = 1, 0
"""NVML's ``NVML_CLOCK_SM`` and ``NVML_TEMPERATURE_GPU``."""

_NO_THROTTLING = 0x1 | 0x2
"""Bits of NVML's clock event reasons: idle, and clocks that the user has set for applications."""

_THROTTLING = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown (software)",
    0x40: "thermal slowdown (hardware)",
    0x80: "power brake",
    0x100: "display clock setting",
    0x200: "board limit",
    0x400: "reliability limit",
}
"""The other bits (``nvmlClocksEventReason*`` in nvml.h)."""


@dataclass(slots=True)
class Reading:
    """Filled when the stage ends, also when it ends with an exception."""

    peak: StagePeak | None = None


class _Sampler(threading.Thread):
    """Keeps the largest value each probe has shown."""

    def __init__(self, probes: dict[str, Callable[[], int]]) -> None:
        super().__init__(name="meter", daemon=True)
        self._probes = probes
        self._finished = threading.Event()
        self.peaks: dict[str, int] = {}

    def run(self) -> None:
        while not self._finished.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        for name, probe in self._probes.items():
            self.peaks[name] = max(self.peaks.get(name, 0), probe())

    def finish(self) -> None:
        self._finished.set()
        self.join()
        self.sample()


class Meter:
    """Measures stages on one device; ``from_empty`` without what the stage before left in the allocator."""

    def __init__(self, device: str, *, from_empty: bool = False) -> None:
        self._from_empty = from_empty
        self._cuda = torch.device(device) if device.startswith("cuda") else None
        self._process = psutil.Process()
        self._probes: dict[str, Callable[[], int]] = {"rss": lambda: int(self._process.memory_info().rss)}
        self.memory_source = "rss"
        self._handle: Any = None
        self._foreign = 0
        if self._cuda is not None:
            self._open_nvml()

    def _open_nvml(self) -> None:
        import pynvml

        self.memory_source = ""
        try:
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(self._cuda).uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            # Before this process took anything: a later meter of the process would count it out.
            before = _BEFORE.setdefault(uuid, int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used))
        except (pynvml.NVMLError, AttributeError):
            self._handle = None
            return
        torch.zeros(1, device=self._cuda)  # the context must exist for the driver to list this process
        if self._own_memory() is not None:
            self.memory_source = "nvml-process"
            self._probes["device"] = lambda: self._own_memory() or 0
        else:
            self.memory_source = "nvml-device-change"
            self._probes["device"] = lambda: max(
                0, int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used) - before
            )

    def _running(self) -> list[Any]:
        """Processes that compute on the card, as far as the driver shows them."""
        import pynvml

        if self._handle is None:
            return []
        try:
            return list(pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except pynvml.NVMLError:
            return []

    def _own_memory(self) -> int | None:
        return next((item.usedGpuMemory for item in self._running() if item.pid == os.getpid()), None)

    def on_device(self) -> int | None:
        """Bytes that this process has on the device now, its context included; None where that cannot be asked."""
        probe = self._probes.get("device")
        return None if probe is None else probe()

    def _look_for_others(self) -> None:
        self._foreign = max(self._foreign, foreign([item.pid for item in self._running()], os.getpid()))

    def energy(self) -> float | None:
        """Joules the card has used since the driver was loaded; None where it does not count."""
        if self._handle is None:
            return None
        import pynvml

        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except pynvml.NVMLError:
            return None

    def card(self) -> CardState | None:
        """Temperature, clock, power and throttling now, and who else computed on the card since the last call.

        None without a card that the driver shows.
        """
        if self._handle is None:
            return None
        others, self._foreign = self._foreign, 0
        power = self._asked("nvmlDeviceGetPowerUsage")
        return CardState(
            temperature_c=self._asked("nvmlDeviceGetTemperature", _GPU_TEMPERATURE),
            clock_mhz=self._asked("nvmlDeviceGetClockInfo", _SM_CLOCK),
            power_w=None if power is None else power / 1000,
            throttled=_in_words(self._clock_reasons() or 0),
            foreign=others,
        )

    def _clock_reasons(self) -> int | None:
        # Renamed in the driver of 2023; the package has either name, or one that an older driver lacks.
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            reasons = self._asked(name)
            if reasons is not None:
                return reasons
        return None

    def _asked(self, name: str, *arguments: int) -> int | None:
        """What the driver says about the card; None where it, or its package, does not know."""
        import pynvml

        try:
            return int(getattr(pynvml, name)(self._handle, *arguments))
        except (pynvml.NVMLError, AttributeError):
            return None

    @contextmanager
    def stage(self) -> Iterator[Reading]:
        """Measure the block; the reading is there when the block has ended."""
        reading = Reading()
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
            if self._from_empty:
                torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._cuda)
        self._look_for_others()
        sampler = _Sampler(self._probes)
        sampler.sample()
        sampler.start()
        start = time.perf_counter()
        try:
            yield reading
            if self._cuda is not None:
                torch.cuda.synchronize(self._cuda)
        finally:
            seconds = time.perf_counter() - start
            sampler.finish()
            self._look_for_others()
            cuda = self._cuda
            reading.peak = StagePeak(
                seconds=seconds,
                allocated=torch.cuda.max_memory_allocated(cuda) if cuda is not None else None,
                reserved=torch.cuda.max_memory_reserved(cuda) if cuda is not None else None,
                device=sampler.peaks.get("device"),
                rss=sampler.peaks.get("rss"),
            )


_BEFORE: dict[str, int] = {}
"""What was in use on a card, by its UUID, before this process used it."""


def foreign(running: Collection[int], own: int) -> int:
    """How many of the processes on a card are others'.

    Where this one is not among them (a container shows it by another number), one of them is taken for it.
    """
    others = set(running) - {own}
    return len(others) if own in running else max(0, len(others) - 1)


def _in_words(reasons: int) -> str:
    reasons &= ~_NO_THROTTLING
    words = [word for bit, word in _THROTTLING.items() if reasons & bit]
    unknown = reasons & ~sum(_THROTTLING)
    return ", ".join([*words, *([f"reason {unknown:#x}"] if unknown else [])])
