"""Section of a visit that renders one picture as the worker does, and what other sections drive a session with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from batch.plan.texts import encode_tasks
from batch.records.receipts import StagePeak
from batch.records.tasks import Task
from batch.records.values import Call
from batch.render.backend import Loads
from batch.render.device import give_back
from batch.render.session import DiffusersSession
from benchmarks import rates
from benchmarks.card_bench import Bench, Scene
from benchmarks.card_predictions import DECODE, STEP
from benchmarks.card_process import Say

MIB = 2**20

KERNELS = 20
"""That are named of a profile."""

KERNEL_NAME = 80
"""Characters of it: templates make some of them pages long."""


def silent(*_: Any) -> None:
    """A sign of life that nobody looks for."""


def largest_difference(one: Any, other: Any) -> float:
    """Of two pictures in levels, or of two tensors."""
    if isinstance(one, torch.Tensor):
        return float((one.float() - other.float()).abs().max())
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())


class Camera:
    """A warm session and one picture: what the sections do with it, told as rows."""

    def __init__(self, bench: Bench, scene: Scene, say: Say) -> None:
        self.bench, self.scene, self._say = bench, scene, say
        source = scene.source()
        self._family = source.family
        self.session = DiffusersSession(source, scene.dtype, bench.device)

    def encoded(self, task: Task) -> tuple[list[bytes], list[StagePeak]]:
        """The embeddings of a task's texts, and what each took; the first text warms up."""
        made = [self.session.encode(text, silent) for text in encode_tasks(task, self._family, self.bench.device)]
        return [item.value for item in made], [item.peak for item in made]

    def denoised(
        self, tasks: Sequence[Task], embeds: list[bytes], steps: tuple[Call, ...]
    ) -> tuple[torch.Tensor, StagePeak]:
        """Latents of tasks with the same texts."""
        made = self.session.denoise(tasks, [embeds] * len(tasks), steps, silent)
        return made.value, made.peak

    def decoded(self, task: Task, latents: torch.Tensor, steps: tuple[Call, ...]) -> tuple[Any, StagePeak]:
        """Pixels."""
        made = self.session.decode(task, latents, steps, silent)
        return made.value, made.peak

    def warm_denoised(
        self, task: Task, embeds: list[bytes], steps: tuple[Call, ...]
    ) -> tuple[StagePeak, torch.Tensor, StagePeak]:
        """What a first step took, which loads and compiles what there is to; then latents, and what they took."""
        cold = self.denoised([replace(task, steps=1)], embeds, steps)[1]
        return cold, *self.denoised([task], embeds, steps)

    def warm_decoded(
        self, task: Task, latents: torch.Tensor, steps: tuple[Call, ...]
    ) -> tuple[StagePeak, Any, StagePeak]:
        """What a first picture took, whose pixels leave their room to the next; then pixels and what they took."""
        cold = self.decoded(task, latents, steps)[1]
        return cold, *self.decoded(task, latents, steps)

    def tell(self, name: str, stage: str, peak: StagePeak, setting: str = "", *, headline: bool = False) -> None:
        """What a stage took of the device, beside what was predicted."""
        key = self.scene.key
        if peak.allocated is None:
            why = "a CPU's tensors are not counted"
            self._say(f"{name}: allocated", "none", "MiB", of=key(stage, setting), note=why, headline=headline)
            self._say(f"{name}: resident", (peak.rss or 0) / MIB, "MiB")
            return
        self._say(f"{name}: allocated", peak.allocated / MIB, "MiB", of=key(stage, setting), headline=headline)
        self._say(f"{name}: reserved", (peak.reserved or 0) / MIB, "MiB")
        if peak.device is not None:
            self._say(f"{name}: on the device", peak.device / MIB, "MiB", of=key(stage, setting, "needed"))


# The stages of one picture


def session(bench: Bench, say: Say) -> None:
    """One picture, stage by stage: seconds, memory, kernels, and whether all numbers are finite."""
    camera, task = Camera(bench, bench.large, say), bench.large.task()
    embeds = _texts(camera, task, say)
    steps = _loaded(camera, task, say)
    latents = _denoising(camera, task, embeds, steps, say)
    pixels = _decoding(camera, task, latents, steps, say)
    objections = [odd.text for odd in camera.session.take_objections()]
    say("all numbers finite", not any("finite" in text for text in objections), note="; ".join(objections),
        headline=True)  # fmt: skip
    _copy(pixels, bench, say)
    _profile(bench, say, "step", lambda: camera.denoised([replace(task, steps=1)], embeds, steps))
    one = bench.one_tile.task()
    side = latents.shape[-1] * one.width // task.width
    corner = latents[..., :side, :side].clone()
    camera.decoded(one, corner, ())
    _profile(bench, say, "tile", lambda: camera.decoded(one, corner, ()))


def _texts(camera: Camera, task: Task, say: Say) -> list[bytes]:
    start = time.perf_counter()
    _, cold = camera.encoded(task)
    embeds, warm = camera.encoded(task)
    say("text encoder: load and first texts", time.perf_counter() - start, "s")
    say("encode: first text", cold[0].seconds, "s")
    say("encode: a text", warm[-1].seconds, "s")
    camera.tell("encode", "encode", warm[-1])
    return embeds


def _loaded(camera: Camera, task: Task, say: Say) -> tuple[Call, ...]:
    start = time.perf_counter()
    steps = camera.session.prepare(Loads.IMAGES, task)
    say("load", camera.session.take_load_s() or 0.0, "s")
    say("load, with letting the text encoder go", time.perf_counter() - start, "s")
    return steps


def _denoising(camera: Camera, task: Task, embeds: list[bytes], steps: tuple[Call, ...], say: Say) -> torch.Tensor:
    give_back(camera.bench.device)
    _, cold = camera.denoised([replace(task, steps=2)], embeds, steps)
    say("denoise: first two steps", cold.seconds, "s")
    latents, peak = camera.denoised([task], embeds, steps)
    say("denoise: a step", peak.seconds / task.steps, "s", of=STEP, headline=True)
    camera.tell("denoise", "denoise", peak, headline=True)
    return latents


def _decoding(camera: Camera, task: Task, latents: torch.Tensor, steps: tuple[Call, ...], say: Say) -> Any:
    give_back(camera.bench.device)
    cold, pixels, peak = camera.warm_decoded(task, latents, steps)
    say("decode: the first", cold.seconds, "s")
    say("decode", peak.seconds, "s", of=DECODE, headline=True)
    camera.tell("decode", "decode", peak, headline=True)
    return pixels


def _copy(pixels: Any, bench: Bench, say: Say) -> None:
    """The bytes of a picture from the device to the host, as the picture is taken there."""
    there = torch.from_numpy(pixels).to(bench.device)
    here = torch.empty(there.shape, dtype=torch.uint8, pin_memory=bench.on_card)
    here.copy_(there)
    rates.synchronize(bench.device)
    start = time.perf_counter()
    here.copy_(there, non_blocking=True)
    rates.synchronize(bench.device)
    seconds = time.perf_counter() - start
    say("copy of the pixels", 1000 * seconds, "ms", note=f"{there.numel() / seconds / 1e9:.3g} GB/s")


def _profile(bench: Bench, say: Say, name: str, work: Callable[[], Any]) -> None:
    """The kernels that take most of some work."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.on_card else [])]
    try:
        with profile(activities=activities) as seen:
            work()
            rates.synchronize(bench.device)
        found = _kernels(seen.key_averages(), on_card=bench.on_card)
    except Exception as error:  # noqa: BLE001 - the driver may not let this process trace
        say(f"profile of a {name}", "failed", note=f"{type(error).__name__}: {error}")
        return
    whole = sum(seconds for seconds, _, _ in found)
    calls = sum(count for _, count, _ in found)
    say(f"profile of a {name}: kernels", calls, note=f"{1000 * whole:.4g} ms in all")
    for rank, (seconds, count, kernel) in enumerate(found[:KERNELS], 1):
        note = f"{seconds / whole:.1%}, {count} calls: {kernel}"
        say(f"{name} kernel {rank}", 1000 * seconds, "ms", note=note, headline=rank == 1 and name == "step")


def _kernels(seen: Any, *, on_card: bool) -> list[tuple[float, int, str]]:
    """Seconds, calls and name of every kernel, or operation of a CPU; the longest first."""
    from torch.autograd import DeviceType  # type: ignore[attr-defined]

    kind = DeviceType.CUDA if on_card else DeviceType.CPU
    counted = "self_device_time_total" if on_card else "self_cpu_time_total"
    found = [
        (getattr(item, counted) / 1e6, item.count, " ".join(str(item.key).split())[:KERNEL_NAME])
        for item in seen
        if item.device_type == kind
    ]
    return sorted((item for item in found if item[0] > 0), reverse=True)
