"""A stand-in for the session, for tests of whatever lies around it: no torch, no model, faults on request.

Pictures are drawn from the task's id, so the same task gives the same bytes. Use it through
``Options(backend=FakeBackend((Fault("oom-cublas", stage="decode", seed=3),)))`` of :mod:`batch.run.options`;
``FakeBackend()`` goes through no faults. What it makes are no pictures of any model: receipts say ``fake`` as
their device.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from batch.base.errors import CannotGoOn, LoadFailed, UserError
from batch.records.kinds import Stage
from batch.records.receipts import CardState, Machine, StagePeak
from batch.records.spec import ModelSource
from batch.records.tasks import EncodeTask, Task
from batch.records.values import Call
from batch.render import failures
from batch.render.backend import Heartbeat, Loads, Oddity, Offered, Timed
from batch.render.failures import BadPicture
from batch.render.guards import check_pixels
from tests.known_times import Times

T = TypeVar("T")

Kind = Literal[
    "oom-torch", "oom-cublas", "oom-cudnn", "oom-unbound", "oom-host", "nan", "flat", "size", "hang",
    "slow", "busy", "locked", "exit", "sigkill", "sticky", "unsuited", "enospc", "eio", "error", "user", "foreign"
]  # fmt: skip
"""Out of memory as torch's class, as cuBLAS and cuDNN say it, as SANA's call hides it and in the host; latents or
pixels that are not finite, a picture of one colour, of a wrong size; a hang, a slow stage, a product of matrices
without end, native code that lets no thread run, ``os._exit``, SIGKILL, a CUDA error that ends the process's use
of the card, a card that torch was not built for, a full disk, a broken one, any other error, one of the
user's; another program on the card."""

STAGES = ("load", "encode", "denoise", "decode", "save")

HANG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong. It strikes every image that all named conditions fit."""

    kind: Kind
    stage: str = "denoise"
    """load, encode, denoise, decode or save."""
    seed: int | None = None
    prompt: str | None = None
    times: int = 0
    """Strikes so often in all, over every process of the run; 0 is always. Needs ``memo``."""
    memo: str = ""
    """A folder that remembers the strikes."""
    pixels: int = 0
    """Strikes pictures of at least so many pixels."""
    unless: str = ""
    """A memory step under which it does not strike: what a smaller setting is good for. While denoising also
    ``alone`` (not in a batch) and ``uncompiled``."""
    seconds: float = 0.0
    """Of a slow stage."""
    model: str = ""
    """Strikes the sessions of this one only."""

    def __post_init__(self) -> None:
        """Raise ValueError for what can never happen: a test that cannot fail."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"there is no fault {self.kind!r}; possible are {', '.join(get_args(Kind))}")
        if self.stage not in STAGES:
            raise ValueError(f"there is no stage {self.stage!r}; possible are {', '.join(STAGES)}")
        if self.kind != "slow" and (self.kind in {"enospc", "eio"}) != (self.stage == "save"):
            raise ValueError(f"{self.kind} does not happen in {self.stage}; enospc and eio happen in save")
        if self.times and not self.memo:
            raise ValueError("a fault that is counted needs a folder to remember its strikes: memo")

    def strikes(self, stage: str, task: Task | EncodeTask | None, steps: Sequence[Call]) -> bool:
        """Whether it strikes now; counts."""
        if self.stage != stage or any(str(step).startswith(self.unless) for step in steps if self.unless):
            return False
        if self.seed is not None and getattr(task, "seed", None) != self.seed:
            return False
        if getattr(task, "rendered_width", 0) * getattr(task, "rendered_height", 0) < self.pixels:
            return False
        if self.prompt is not None and getattr(task, "prompt", getattr(task, "text", None)) != self.prompt:
            return False
        return not self.times or self._once_more()

    def _once_more(self) -> bool:
        name = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        for number in range(self.times):
            try:
                Path(self.memo, f"{name}-{number}").open("x").close()
            except FileExistsError:
                continue
            return True
        return False


class OutOfMemoryError(RuntimeError):
    """By the name of torch's own."""


class _Unsavable(np.ndarray):
    """Pixels that the saver cannot get at: stands for an error of the disk while an image is written."""

    code: int = errno.EIO

    @property
    def __array_interface__(self) -> Any:
        raise OSError(self.code, os.strerror(self.code))


class _Slow(np.ndarray):
    """Pixels that the saver waits for."""

    seconds: float = 0.0

    @property
    def __array_interface__(self) -> Any:
        time.sleep(self.seconds)
        return np.asarray(self).__array_interface__


def _raise(error: BaseException) -> None:
    raise error


def _multiply() -> None:
    matrix = np.ones((3000, 3000), np.float32)
    while True:
        matrix @= matrix


_HAPPENS: dict[str, Callable[[Fault], None]] = {
    "oom-torch": lambda _: _raise(OutOfMemoryError("CUDA out of memory. Tried to allocate 2.25 GiB.")),
    "oom-cublas": lambda _: _raise(
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
    ),
    "oom-cudnn": lambda _: _raise(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
    "oom-unbound": lambda _: _raise(
        UnboundLocalError("cannot access local variable 'image' where it is not associated with a value")
    ),
    "oom-host": lambda _: _raise(MemoryError()),
    "user": lambda _: _raise(UserError("it lacks what only its user can add")),
    "error": lambda _: _raise(ValueError("a fault was asked for")),
    "sticky": lambda _: _raise(RuntimeError("CUDA error: an illegal memory access was encountered")),
    "unsuited": lambda _: _raise(
        RuntimeError("CUDA error: no kernel image is available for execution on the device")
    ),
    "hang": lambda _: time.sleep(HANG_S),
    "slow": lambda fault: time.sleep(fault.seconds),
    "busy": lambda _: _multiply(),
    "locked": lambda _: ctypes.PyDLL(None).sleep(int(HANG_S)),
    "exit": lambda _: os._exit(3),
    "sigkill": lambda _: os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM)),
}


class FakeMeter:
    """Measures nothing."""

    memory_source = "fake"
    foreign = False

    def card(self) -> CardState | None:
        """There is none, save where a fault has put another program on it."""
        others, self.foreign = self.foreign, False
        return CardState(foreign=1) if others else None


class FakeSession:
    """The stages of a :class:`batch.render.backend.Session`, with faults."""

    staged = True
    scheduler: Mapping[str, Any] = {}

    def __init__(
        self,
        source: ModelSource,
        faults: Sequence[Fault] = (),
        times: Times | None = None,
    ) -> None:
        self._source = source
        self._faults = faults
        self._times = times
        self._loaded: Loads | None = None
        self._load_s: float | None = None
        self._uncompiled = False
        self.compiled = False
        self.meter = FakeMeter()

    def encode(self, task: EncodeTask, beat: Heartbeat) -> Timed[bytes]:
        """Four numbers from the text."""
        self._load(Loads.TEXTS)
        numbers = np.frombuffer(hashlib.sha256(task.text.encode()).digest()[:16], np.float32)
        return self._run(
            Stage.ENCODE, task, task.memory_steps, lambda: save_arrays({"prompt_embeds": numbers}), beat
        )

    def prepare(self, part: Loads, task: Task, *, compiled: bool = False) -> tuple[Call, ...]:
        """Load what a task needs; its memory setting."""
        self.compiled = compiled and not self._uncompiled
        self._load(part)
        return task.memory_steps

    def take_load_s(self) -> float | None:
        """Seconds of loading, once after each load."""
        taken, self._load_s = self._load_s, None
        return taken

    def take_excuse(self) -> str:
        """None."""
        return ""

    def cannot_compile(self) -> None:
        """From now on nothing counts as compiled."""
        self.compiled, self._uncompiled = False, True

    def take_objections(self) -> list[Oddity]:
        """None: what is bad here fails."""
        return []

    def denoise(
        self, tasks: Sequence[Task], embeds: Sequence[Sequence[bytes]], steps: tuple[Call, ...], beat: Heartbeat
    ) -> Timed[NDArray[np.float32]]:
        """Latents ``[n, 4, 8, 8]`` drawn from the tasks' ids."""
        del embeds
        first = tasks[0]
        shown = (*steps, *(Call(name=word) for word in self._how(tasks)))

        def work() -> NDArray[np.float32]:
            for task in tasks[1:]:
                self._meet("denoise", task, shown)
            latents = np.concatenate([_latents(task) for task in tasks])
            for step in range(first.steps):
                self._take(0.0 if self._times is None else self._times.denoise(first) / first.steps)
                beat(Stage.DENOISE, step + 1, first.steps)
            for index, task in enumerate(tasks):
                if self._struck("denoise", task, shown, {"nan"}):
                    latents[index, 0, 0, 0] = np.nan
            if not np.isfinite(latents).all():
                raise BadPicture("the latents hold numbers that are not finite (NaN or infinite)")
            return latents

        return self._run(Stage.DENOISE, first, shown, work, beat)

    def _how(self, tasks: Sequence[Task]) -> tuple[str, ...]:
        """Words for a fault's ``unless`` beside the memory steps."""
        return (*(("alone",) if len(tasks) == 1 else ()), *(() if self.compiled else ("uncompiled",)))

    def decode(
        self,
        task: Task,
        latents: NDArray[np.float32],
        steps: tuple[Call, ...],
        beat: Heartbeat,
        *,
        float32: bool = False,
    ) -> Timed[NDArray[np.uint8]]:
        """Pixels ``[H, W, 3]`` from the latents: soft shapes with grain."""

        def work() -> NDArray[np.uint8]:
            if not float32 and self._struck("decode", task, steps, {"nan"}):
                raise BadPicture("the decoded picture holds numbers that are not finite (NaN or infinite)")
            pixels = _picture(latents, task.width, task.height)
            if not float32 and self._struck("decode", task, steps, {"flat"}):
                pixels[:] = 0
            if not float32 and self._struck("decode", task, steps, {"size"}):
                pixels = pixels[:-1]
            check_pixels(pixels, task.width, task.height)
            return self._maybe_unsavable(task, steps, pixels)

        return self._run(Stage.DECODE, task, steps, work, beat)

    def whole(self, task: Task, steps: tuple[Call, ...], beat: Heartbeat) -> Timed[NDArray[np.uint8]]:
        """Not a pipeline that is called whole."""
        raise NotImplementedError

    def latents_bytes(self, latents: NDArray[np.float32]) -> bytes:
        """Latents as the bytes of a safetensors file."""
        return save_arrays({"latents": latents})

    def latents_from(self, data: bytes) -> NDArray[np.float32]:
        """Latents that were kept."""
        try:
            latents: NDArray[np.float32] = load_arrays(data)["latents"]
        except (SafetensorError, KeyError) as error:
            raise failures.failed(error, Stage.DECODE) from None
        return latents

    def anew(self) -> None:
        """Loading counts for the run before."""
        self._load_s = None

    def close(self) -> None:
        """Nothing is held."""

    def _load(self, part: Loads) -> None:
        if self._loaded == part:
            return
        try:
            self._meet("load", None, ())
        except UserError:
            raise
        except Exception as error:
            raise LoadFailed(f"the model {self._source.name} cannot be loaded: {error}") from error
        self._loaded = part
        loading = 0.001 if self._times is None else self._times.loading(self._source.name)
        self._take(loading if self._times else 0.0)
        self._load_s = (self._load_s or 0.0) + loading

    def _take(self, seconds: float) -> None:
        """Stand still."""
        if seconds:
            time.sleep(seconds)

    def _run(
        self,
        stage: Stage,
        task: Task | EncodeTask,
        steps: tuple[Call, ...],
        work: Callable[[], T],
        beat: Heartbeat,
    ) -> Timed[T]:
        start = time.perf_counter()
        beat(stage, 0, 0)
        try:
            self._meet(stage, task, steps)
            if isinstance(task, Task) and self._struck(stage, task, steps, {"foreign"}):
                self.meter.foreign = True
            if self._times is not None:
                self._take(self._times.beside(stage, task))
            value = work()
        except Exception as error:
            if lost := failures.lost(error):
                raise lost from error
            if stage == "encode" and not failures.is_out_of_memory(error):
                raise CannotGoOn(f"the text cannot be encoded: {error}") from error
            if type(error).__module__ == "batch.base.errors":
                raise
            if hopeless := failures.unsuited(error):
                raise hopeless from error
            failed = failures.failed(error, stage)
        else:
            return Timed(value, StagePeak(seconds=time.perf_counter() - start))
        raise failed

    def _meet(self, stage: str, task: Task | EncodeTask | None, steps: Sequence[Call]) -> None:
        for fault in self._faults:
            if fault.model not in ("", self._source.name):
                continue
            if fault.kind in _HAPPENS and fault.strikes(stage, task, steps):
                _HAPPENS[fault.kind](fault)

    def _struck(self, stage: str, task: Task, steps: Sequence[Call], kinds: set[str]) -> bool:
        return any(fault.kind in kinds and fault.strikes(stage, task, steps) for fault in self._faults)

    def _maybe_unsavable(self, task: Task, steps: Sequence[Call], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        for kind, code in (("enospc", errno.ENOSPC), ("eio", errno.EIO)):
            if self._struck("save", task, steps, {kind}):
                broken = pixels.view(_Unsavable)
                broken.code = code
                return broken
        for fault in self._faults:
            if fault.kind == "slow" and fault.strikes("save", task, steps):
                late = pixels.view(_Slow)
                late.seconds = fault.seconds
                return late
        return pixels


@dataclass(frozen=True, slots=True)
class FakeBackend:
    """Sessions that go through these faults, on a machine that is none."""

    faults: tuple[Fault, ...] = ()
    undying: bool = False
    """Linux does not end the worker with its parent, as no other system does."""
    times: Times | None = None
    """What each stage takes; None: no time."""
    machine: Machine = field(default_factory=lambda: Machine(device="fake", torch="none", diffusers="none"))

    def devices(self, asked: str | None) -> Offered:
        """Any device will do."""
        if self.undying:
            ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG
        named = "cuda:0" if asked in (None, "all", "first") else asked
        return Offered(tuple(named.split(",")))

    def cap(self, _device: str, limit: int) -> str:
        """Nothing is held to anything."""
        return f"held to {limit} bytes, in word only"

    def describe(self, _device: str) -> Machine:
        """No machine at all."""
        return self.machine

    def open(self, source: ModelSource, _dtype: str, _device: str, *, measure: bool = False) -> FakeSession:
        """A session that has nothing to load."""
        return FakeSession(source, self.faults, self.times)


def _latents(task: Task) -> NDArray[np.float32]:
    drawn = np.random.default_rng(int(task.id, 16)).standard_normal((1, 4, 8, 8))
    return drawn.astype(np.float32)


def _picture(latents: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(np.frombuffer(latents.tobytes()[:32], np.uint32))
    down, across = np.linspace(0, 3, height)[:, None, None], np.linspace(0, 3, width)[None, :, None]
    phase = rng.uniform(0, 6, (2, 3))
    shapes = 127 + 90 * np.sin(down + phase[0]) * np.cos(across + phase[1])
    picture: NDArray[np.uint8] = (shapes + rng.normal(0, 4, (height, width, 1))).clip(0, 255).astype(np.uint8)
    return picture
