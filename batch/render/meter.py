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

import psutil
import torch

from batch.base import nvml
from batch.records.receipts import CardState, StagePeak

SAMPLE_SECONDS = 0.02


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
        self._handle: nvml.Handle | None = None
        self._foreign = 0
        if self._cuda is not None:
            self._open_nvml()

    def _open_nvml(self) -> None:
        self.memory_source = ""
        if not nvml.driver():
            return
        uuid = str(torch.cuda.get_device_properties(self._cuda).uuid)
        card = nvml.of_torch(uuid)
        in_use = None if card is None else nvml.used(card)
        if card is None or in_use is None:
            return
        self._handle = card
        # Before this process took anything: a later meter of the process would count it out.
        before = _BEFORE.setdefault(uuid, in_use)
        torch.zeros(1, device=self._cuda)  # the context must exist for the driver to list this process
        if nvml.processes(card).get(os.getpid()) is not None:
            self.memory_source = "nvml-process"
            self._probes["device"] = lambda: nvml.processes(card).get(os.getpid()) or 0
        else:
            self.memory_source = "nvml-device-change"
            self._probes["device"] = lambda: max(0, (nvml.used(card) or 0) - before)

    def on_device(self) -> int | None:
        """Bytes that this process has on the device now, its context included; None where that cannot be asked."""
        probe = self._probes.get("device")
        return None if probe is None else probe()

    def _look_for_others(self) -> None:
        running = nvml.processes(self._handle) if self._handle is not None else ()
        self._foreign = max(self._foreign, foreign(running, os.getpid()))

    def energy(self) -> float | None:
        """Joules the card has used since the driver was loaded; None where it does not count."""
        return None if self._handle is None else nvml.joules(self._handle)

    def card(self) -> CardState | None:
        """Temperature, clock, power and throttling now, and who else computed on the card since the last call.

        None without a card that the driver shows.
        """
        if self._handle is None:
            return None
        others, self._foreign = self._foreign, 0
        return CardState(
            temperature_c=nvml.celsius(self._handle),
            clock_mhz=nvml.megahertz(self._handle),
            power_w=nvml.watts(self._handle),
            throttled=nvml.throttled(self._handle),
            foreign=others,
        )

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
