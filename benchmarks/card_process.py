"""One section of a visit in a process of its own, ended with all it has started when its time is up.

A hang, an out-of-memory or a broken CUDA context costs the section that had it. Processes are forked from one that
has imported torch and the libraries and has never touched the card; where that is not possible each starts anew.
"""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from batch.render.failures import first_line
from benchmarks.card_bench import ROOT, Bench
from benchmarks.card_rows import FAILED, WELL, Floor, Row, Value

START_S = 90.0
"""Until a process has imported what it needs and says so: not part of a section's time, which is the card's."""

EXIT_S = 3.0
"""For a process to go after it has said that it is done."""

PRELOADED = (
    "torch", "diffusers", "transformers", "accelerate", "diffusers.pipelines.sana.pipeline_sana",
    "diffusers.models.autoencoders.autoencoder_dc", "transformers.models.gemma2.modeling_gemma2",
    "batch.render.session", "batch.render.cap", "benchmarks.card_device", "benchmarks.card_kernels",
    "benchmarks.card_stages", "benchmarks.card_decode", "benchmarks.card_settings", "benchmarks.card_programs",
    "benchmarks.card_fused",
)  # fmt: skip

CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""With it torch.cuda.is_available(), which libraries ask when they are imported, leaves CUDA alone: a process that
has asked CUDA cannot be forked any more."""


class Say:
    """What a section tells its figures through, as soon as each is there."""

    def __init__(self, send: Callable[[Row], None], section: str, ends: float) -> None:
        self._send, self._section, self._ends = send, section, ends

    def __call__(
        self,
        name: str,
        value: Value,
        unit: str = "",
        *,
        note: str = "",
        predicted: float | None = None,
        of: str = "",
        floor: Floor | None = None,
        headline: bool = False,
    ) -> None:
        """One figure; ``of``, ``floor`` and ``predicted`` are what stands beside it: see :class:`Row`."""
        self._send(
            Row(
                section=self._section,
                name=name,
                value=value,
                unit=unit,
                note=note,
                predicted=predicted,
                of=of,
                floor=floor,
                headline=headline,
            )
        )

    def left(self) -> float:
        """Seconds until the section is ended."""
        return self._ends - time.monotonic()


Work = str
"""A function of a bench and a :class:`Say`, as ``package.module:function``: only its process imports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a section ended: :data:`WELL`, ``failed``, ``crashed`` or ``cut off``."""

    status: str
    note: str = ""
    seconds: float = 0.0


def run(
    work: Work, name: str, bench: Bench, seconds: float, log: Path, context: Any, on_row: Callable[[Row], None]
) -> Ended:
    """Run a section for so many seconds at most; its rows go to ``on_row`` as they come."""
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_section, args=(work, name, bench, seconds, str(log), sending))
    process.start()
    sending.close()
    start = time.monotonic()
    try:
        ended = _followed(process, receiving, seconds, on_row)
        if ended.status in (WELL, FAILED):  # it has said so itself, and goes
            process.join(EXIT_S)
    finally:
        _end(process)
        _drain(receiving, on_row)
        receiving.close()
    return Ended(status=ended.status, note=ended.note, seconds=time.monotonic() - start)


def _followed(process: Any, receiving: Connection, seconds: float, on_row: Callable[[Row], None]) -> Ended:
    """What a section says until it ends, in whatever way."""
    ends = time.monotonic() + START_S
    cut_off = f"it had not started within {START_S:.0f} s"
    while True:
        ready = wait([receiving, process.sentinel], max(0.0, ends - time.monotonic()))
        if not ready:
            return Ended(status="cut off", note=cut_off)
        if receiving not in ready and not receiving.poll():
            return _crashed(process)
        try:
            said = receiving.recv()
        except (EOFError, OSError):
            return _crashed(process)
        if isinstance(said, Row):
            on_row(said)
        elif isinstance(said, Ended):
            return said
        else:  # it has started
            ends = time.monotonic() + seconds
            cut_off = f"not done after {seconds:.0f} s; card.log shows where it was"


def _drain(receiving: Connection, on_row: Callable[[Row], None]) -> None:
    """What had been said and not heard when a section was ended."""
    with suppress(EOFError, OSError):
        while receiving.poll():
            if isinstance(said := receiving.recv(), Row):
                on_row(said)


def _crashed(process: Any) -> Ended:
    process.join(EXIT_S)
    code = process.exitcode
    by = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return Ended(status="crashed", note=f"its process ended with {by}; card.log has its last words")


def _end(process: Any) -> None:
    """End a process and whatever it has started."""
    started: list[psutil.Process] = []
    with suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
    if hasattr(os, "killpg"):
        with suppress(OSError):  # its group is gone, or it never came to have one
            os.killpg(process.pid, signal.SIGKILL)
    if process.exitcode is None:
        process.kill()
    for other in started:
        with suppress(psutil.Error):
            other.kill()
    process.join(EXIT_S)


def _section(work: Work, name: str, bench: Bench, seconds: float, log: str, sending: Connection) -> None:
    """What the process of a section does."""
    _apart(log)
    os.environ.pop(CHECK, None)
    gc.freeze()  # libraries: hundreds of thousands of objects that no collection need look at again
    print(f"--- {name}", flush=True)
    sending.send("started")
    faulthandler.dump_traceback_later(max(0.1, seconds - 0.5))  # where it was, before it is killed
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds) + 15)  # should there be nobody left who ends it
    try:
        pkgutil.resolve_name(work)(bench, Say(sending.send, name, time.monotonic() + seconds))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is this section's result
        traceback.print_exc()
        note = f"{type(error).__name__}: {first_line(error)}\n{traceback.format_exc()}"
        sending.send(Ended(status=FAILED, note=note))
    else:
        sending.send(Ended(status=WELL))


def _apart(log: str) -> None:
    """A group of its own, so that it can be ended with all it starts, and a file for what it prints."""
    if hasattr(os, "setsid"):
        os.setsid()
    try:
        file = _opened(log)
        os.write(file, b"\n")
    except OSError:  # a full disk: the figures go another way
        file = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    faulthandler.enable()


def _opened(log: str | Path) -> int:
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@contextmanager
def _stderr_in(log: Path) -> Iterator[None]:
    """Processes that are started meanwhile complain into the log."""
    own, file = os.dup(2), _opened(log)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.close(file)


def touch(bench: Bench, _say: Say) -> None:
    """Compute something on the device: in a process that was forked from one that had asked CUDA this fails.

    It reads the libraries of products, convolutions and attention from the disk, before a section's time is taken.
    """
    import torch

    ones = torch.ones(1, 64, 64, 64, device=bench.device, dtype=getattr(torch, bench.large.dtype))
    assert float((ones[0, 0] @ ones[0, 0])[0, 0]) == 64.0
    torch.nn.functional.conv2d(ones.to(memory_format=torch.channels_last), ones[0, :, :3, :3].expand(64, 64, 3, 3))
    assert float(torch.nn.functional.scaled_dot_product_attention(ones, ones, ones).max()) == 1.0


def choose(bench: Bench, log: Path) -> Any:
    """How processes are started here: forked from one that has imported all, if that can be."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # that process is not told sys.path
    if "forkserver" in multiprocessing.get_all_start_methods():
        os.environ[CHECK] = "1"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        with _stderr_in(log):  # what libraries say when they are imported
            forkserver.ensure_running()
        with suppress(OSError, EOFError):
            ended = run(f"{__name__}:touch", "touch", bench, 30.0, log, context, lambda _row: None)
            if ended.status == WELL:
                return context
            print(f"processes start anew each: {ended.note.splitlines()[0]}", file=sys.stderr)
    return multiprocessing.get_context("spawn")
