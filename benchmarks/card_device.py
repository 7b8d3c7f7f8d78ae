"""Sections of a visit about the device itself: what is there, what it can do, and what the meter sees of it."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import cache
from importlib import metadata
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

from batch.memory.footprint import CONTEXT
from batch.render.cap import cap
from batch.render.device import describe
from batch.render.meter import Meter
from benchmarks import rates
from benchmarks.card_bench import COPY, FLOAT32, MATRIX, Bench, sheet
from benchmarks.card_process import Say

PACKAGES = ("diffusers", "transformers", "accelerate", "triton", "bitsandbytes", "torchao", "nvidia-ml-py")

ASKED = (
    "name", "driver_version", "vbios_version", "memory.total", "memory.used", "power.limit", "power.max_limit",
    "clocks.max.sm", "clocks.max.memory", "temperature.gpu", "persistence_mode", "compute_mode",
    "mig.mode.current", "ecc.mode.current", "pcie.link.gen.current", "pcie.link.width.current",
)  # fmt: skip
"""Of nvidia-smi."""

NO_CARD = "no CUDA context on a CPU"

PIECE = 64 * 2**20
"""Bytes taken at a time until a limit is met."""


def versions(bench: Bench, say: Say) -> None:
    """What is there: card, driver, libraries, compilers."""
    say("device", _name(bench), headline=True)
    say("python", platform.python_version())
    say("torch", str(torch.__version__), note=f"CUDA {torch.version.cuda}", headline=True)
    say("cuDNN", torch.backends.cudnn.version() or "none")
    for name in PACKAGES:
        try:
            say(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            say(name, "not installed")
    for name in ("cc", "gcc", "g++"):
        say(name, shutil.which(name) or "not there", note=_first_line([name, "--version"]))
    say("cores", os.cpu_count() or 0)
    say("host memory", psutil.virtual_memory().total / 2**30, "GiB")
    for variable in (
        "TORCHINDUCTOR_CACHE_DIR",
        "TRITON_CACHE_DIR",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
    ):
        say(variable, os.environ.get(variable, "not set"))
    if not bench.on_card:
        say("compute capability", "none", note=NO_CARD)
        say("nvidia-smi", "not asked", note=NO_CARD)
        return
    card = torch.cuda.get_device_properties(bench.device)
    say("driver", describe(bench.device).driver or "not known", headline=True)
    say("compute capability", f"{card.major}.{card.minor}")
    say("multiprocessors", card.multi_processor_count)
    say("card's memory", card.total_memory / 2**30, "GiB", headline=True)
    told = _first_line(["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]).split(", ")
    if len(told) == len(ASKED):
        for name, value in zip(ASKED, told, strict=True):
            say(f"nvidia-smi {name}", value, headline=name == "power.limit")
    else:
        say("nvidia-smi", "no answer", note=", ".join(told))
    _first_line(["nvidia-smi"], show=True)


def _name(bench: Bench) -> str:
    return torch.cuda.get_device_name(bench.device) if bench.on_card else platform.machine()


def _first_line(command: list[str], *, show: bool = False) -> str:
    """The first line a program prints, or why there is none; ``show``: all of it into the log."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if show:
        print(told.stdout, told.stderr, flush=True)
    return next(iter((told.stdout or told.stderr).splitlines()), "")


def speeds(bench: Bench, say: Say) -> None:
    """Copy bandwidth and matrix rates, in a burst and sustained, beside what the data sheet says."""
    told = sheet(_name(bench))
    torch.set_float32_matmul_precision("highest")  # no TF32
    say(
        COPY, rates.copy_bandwidth(bench.device) / 1e9, "GB/s",
        predicted=told.bandwidth / 1e9 if told else None, note="data sheet" if told else "", headline=True,
    )  # fmt: skip
    kinds = {MATRIX: bench.large.dtype, FLOAT32: "float32"}

    @cache  # on a CPU both are one
    def rate(dtype: str) -> rates.MatrixRate:
        # Float32 draws less power: a second says what a night does.
        seconds = bench.load_s if dtype == bench.large.dtype else bench.load_s / 3
        return rates.matrix_rate(bench.device, getattr(torch, dtype), seconds=seconds)

    for name, dtype in kinds.items():
        most = (told.matrix if name == MATRIX else told.float32) / 1e12 if told else None
        found = rate(dtype)
        say(f"{name}, burst", found.burst / 1e12, "TFLOP/s", predicted=most, note=dtype)
        say(name, found.sustained / 1e12, "TFLOP/s", predicted=most, note=f"{dtype}, sustained", headline=True)


def meter(bench: Bench, say: Say) -> None:
    """What the meter finds on this device, what asking costs, and whether a limit is held."""
    found = Meter(bench.device)
    say("memory source", found.memory_source or "none", headline=True)
    for name, ask in (("device's memory", found.on_device), ("energy", found.energy)):
        if ask() is None:
            say(f"query of the {name}", "none", "ms", note="nothing here tells it")
        else:
            say(f"query of the {name}", 1000 * _median(ask), "ms", headline=True)
    for part in (_energy, _context, _limit):
        try:
            part(bench, found, say)
        except Exception as error:  # noqa: BLE001 - the others are tried all the same
            say(part.__name__.strip("_"), "failed", note=f"{type(error).__name__}: {error}")


def _median(ask: Callable[[], Any], times: int = 20) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _energy(bench: Bench, found: Meter, say: Say) -> None:
    """Energy over some load, against the power that was shown meanwhile."""
    if found.energy() is None:
        say("energy under load", "none", note="nothing here counts it")
        return
    square = torch.randn(8192, 8192, device=bench.device, dtype=getattr(torch, bench.large.dtype))
    _load(bench, found, square, 1.0)  # the power that the driver shows is an average over a second
    before, start = found.energy() or 0.0, time.perf_counter()
    powers = _load(bench, found, square, 1.0)
    taken, used = time.perf_counter() - start, (found.energy() or 0.0) - before
    power = statistics.mean(powers) if powers else None
    note = f"power x time over {taken:.2f} s" + (f", {power:.0f} W" if power else "")
    say("energy under load", used, "J", predicted=power and power * taken, note=note, headline=True)


def _load(bench: Bench, found: Meter, square: torch.Tensor, seconds: float) -> list[float]:
    """Work at full load; the power that was shown meanwhile."""
    made, powers, start = torch.empty_like(square), [], time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(20):
            torch.mm(square, square, out=made)
        rates.synchronize(bench.device)
        state = found.card()
        powers += [state.power_w] if state and state.power_w is not None else []
    return powers


def _context(bench: Bench, found: Meter, say: Say) -> None:
    """What CUDA takes for itself, once its libraries have worked."""
    there = found.on_device() if bench.on_card else None
    if there is None:
        say("CUDA's context", "none", note=NO_CARD if not bench.on_card else "the driver does not say")
        return
    taken = (there - torch.cuda.memory_reserved(bench.device)) / 2**20
    say("CUDA's context", taken, "MiB", predicted=CONTEXT / 2**20, note="allowance CONTEXT", headline=True)


def _limit(bench: Bench, _found: Meter, say: Say) -> None:
    """A process that is held to a part of the card and takes all it gets."""
    if bench.vram_limit is None:
        say("a limit held", "none", note=NO_CARD)
        return
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_take_all, args=(bench.device, bench.vram_limit, sending))
    process.start()
    sending.close()
    try:
        said, there, allocated = receiving.recv()
    except EOFError:
        say("a limit held", "failed", note="its process ended; card.log has its last words", headline=True)
        return
    finally:
        process.join()
    limit = bench.vram_limit / 2**20
    say("a limit held: on the device", there / 2**20, "MiB", predicted=limit, note=said, headline=True)
    say("a limit held: for tensors", allocated / 2**20, "MiB")


def _take_all(device: str, limit: int, sending: Connection) -> None:
    said, found, taken = cap(device, limit), Meter(device), []
    try:
        while True:
            taken.append(torch.ones(PIECE, dtype=torch.uint8, device=device))
    except torch.OutOfMemoryError:
        pass
    torch.cuda.synchronize(device)
    sending.send((said, found.on_device() or 0, torch.cuda.memory_allocated(device)))
