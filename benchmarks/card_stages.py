"""Sections of a visit that drive a session as the worker does: stages, memory steps, compiling, decoding."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from batch.errors import BatchError, DeviceLost
from batch.plan import encode_tasks
from batch.plan.steps import BACKENDS, STEPS
from batch.records import Call, StagePeak, Task
from batch.render import exact, tiles
from batch.render.device import give_back
from batch.render.failures import StageFailed
from batch.render.families import common
from batch.render.pixels import assemble
from batch.render.session import Session, quiet
from benchmarks import rates
from benchmarks.card_bench import STEP_SETTINGS, Bench, Scene
from benchmarks.card_predictions import DECODE, FUSED_STEP, STEP
from benchmarks.card_process import Say
from benchmarks.card_rows import FINDING

MIB = 2**20

KERNELS = 20
"""That are named of a profile."""

KERNEL_NAME = 80
"""Characters of it: templates make some of them pages long."""

BATCH_S = 25.0
"""Left at least when a batch is compiled too."""


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
        self.session = Session(source, scene.dtype, bench.device)

    def encoded(self, task: Task) -> tuple[list[bytes], StagePeak]:
        """The embeddings of a task's texts, and what the larger of them took."""
        made = [self.session.encode(text, silent) for text in encode_tasks(task, self._family, self.bench.device)]
        return [item.value for item in made], max((item.peak for item in made), key=lambda peak: peak.seconds)

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

    def tell(self, name: str, stage: str, peak: StagePeak, setting: str = "", *, headline: bool = False) -> None:
        """What a stage took of the device, beside what was predicted."""
        key = self.scene.key
        if peak.allocated is None:
            why = "a CPU's tensors are not counted"
            self._say(f"{name}: allocated", "none", of=key(stage, setting), note=why, headline=headline)
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
    objections = [text for _, text in camera.session.take_objections()]
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
    say("encode: first text", cold.seconds, "s")
    say("encode: a text", warm.seconds, "s")
    camera.tell("encode", "encode", warm)
    return embeds


def _loaded(camera: Camera, task: Task, say: Say) -> tuple[Call, ...]:
    start = time.perf_counter()
    steps = camera.session.prepare("images", task)
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
    _, cold = camera.decoded(task, latents, steps)
    say("decode: the first", cold.seconds, "s")
    pixels, peak = camera.decoded(task, latents, steps)
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
    from torch.autograd import DeviceType

    kind = DeviceType.CUDA if on_card else DeviceType.CPU
    counted = "self_device_time_total" if on_card else "self_cpu_time_total"
    found = [
        (getattr(item, counted) / 1e6, item.count, " ".join(str(item.key).split())[:KERNEL_NAME])
        for item in seen
        if item.device_type == kind
    ]
    return sorted((item for item in found if item[0] > 0), reverse=True)


# Decoding, ours and diffusers'


def decode(bench: Bench, say: Say) -> None:
    """Our tiles against diffusers' own: bits, seconds, memory."""
    pipe, latents = _decoder(bench)

    def diffusers() -> torch.Tensor:
        with torch.no_grad():
            made: torch.Tensor = pipe.vae.decode(latents, return_dict=False)[0]
        return made

    def converted() -> Any:
        return np.asarray(pipe.image_processor.postprocess(diffusers(), output_type="pil")[0])

    theirs = _timed("diffusers", converted, bench, say), diffusers().cpu()
    exact.settle(pipe)  # as a session has it
    ours = (
        _timed("run_batch", lambda: assemble(tiles.decode(pipe.vae, latents)).pixels, bench, say),
        tiles.decode(pipe.vae, latents).whole().cpu(),
    )
    equal, apart = torch.equal(ours[1], theirs[1]), largest_difference(ours[1], theirs[1])
    note = "" if equal else f"{FINDING}they differ by {apart:.3g} in -1..1"
    say("bits equal", equal, note=note, headline=True)
    say("pixels: largest difference", largest_difference(ours[0], theirs[0]), "of 255")


def _timed(name: str, way: Callable[[], Any], bench: Bench, say: Say) -> Any:
    """The pixels that a warm way makes, and what that takes."""
    give_back(bench.device)
    way()
    if bench.on_card:
        torch.cuda.reset_peak_memory_stats(bench.device)
    rates.synchronize(bench.device)
    start = time.perf_counter()
    made = way()
    say(f"{name}: seconds", time.perf_counter() - start, "s", headline=True)
    taken: Any = "none"
    if bench.on_card:
        taken = torch.cuda.max_memory_allocated(bench.device) / MIB
    say(f"{name}: allocated", taken, "MiB", note="without the denoiser")
    return made


def _decoder(bench: Bench) -> tuple[Any, torch.Tensor]:
    """The pipeline with its autoencoder alone, set to tiles, and latents that are noise."""
    quiet()
    scene, (tile, stride) = bench.large, bench.tile
    pipe = common.load_decoder(scene.source(), scene.dtype, bench.device).to(bench.device)
    pipe.vae.enable_tiling(tile, tile, stride, stride)
    return pipe, _noise(bench, pipe.vae).to(bench.device, pipe.vae.dtype)


def _noise(bench: Bench, vae: Any) -> torch.Tensor:
    scale, size = vae.spatial_compression_ratio, bench.large.size
    shape = (1, vae.config.latent_channels, size.height // scale, size.width // scale)
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(0))


def whole(bench: Bench, say: Say) -> None:
    """Decoding in one piece at the largest size: whether it works, and what is made of it where it does not."""
    camera, task = Camera(bench, bench.large, say), bench.large.task("full")
    camera.session.prepare("images", task)  # the denoiser too, as in the prediction
    latents = _noise(bench, camera.session._pipe.vae)
    tiled, _ = camera.decoded(task, latents, bench.large.task().memory_steps)
    give_back(bench.device)
    try:
        made, peak = camera.decoded(task, latents, ())
    except StageFailed as error:
        say("decode in one piece", "failed", note=f"{error.info.kind}: {error.info.message}", headline=True)
        say("taken for out of memory", error.out_of_memory)
        return
    except BatchError as error:
        say("decode in one piece", "failed", note=f"{type(error).__name__}: {error}", headline=True)
        return
    say("decode in one piece", peak.seconds, "s", headline=True)
    camera.tell("decode in one piece", "decode", peak, "full", headline=True)
    # Tiles look at less of the picture than the whole does: near, not equal. Far apart says that indices ran over.
    apart = np.abs(made.astype(np.int16) - tiled.astype(np.int16))
    quarter = len(apart) // 4
    bands = ", ".join(f"{apart[top : top + quarter].mean():.2f}" for top in range(0, 4 * quarter, quarter))
    say("mean difference from tiles", float(apart.mean()), "of 255", note=f"quarters from the top: {bands}")


# Memory steps


@dataclass(slots=True)
class _Taken:
    """What one setting made."""

    pixels: Any
    peaks: dict[str, StagePeak]


def steps(bench: Bench, say: Say) -> None:
    """Every memory step on one warm session, and nothing of it left at the end."""
    camera = Camera(bench, bench.small, say)
    texts = _encoded(camera, ("full", "text_encoder_offload", "sequential_cpu_offload"), say)
    _picture(camera, "full", texts["full"])  # warms up
    first = _told(camera, "full", texts, say, None)
    for step, setting in STEP_SETTINGS:
        if setting == "text_encoder_cpu":  # from here on it may take long
            _told(camera, "full", texts, say, first, name="full again")
            texts |= _encoded(camera, (setting,), say)
        if why := _lacking(step, setting):
            say(setting, "not here", note=why)
            continue
        _told(camera, setting, texts, say, first, step=step)
    _told(camera, "full", texts, say, first, name="full at the end")


def _encoded(camera: Camera, settings: Sequence[str], say: Say) -> dict[str, Any]:
    """Embeddings, or why there are none, as some settings encode texts; the session lets images go for it."""
    found: dict[str, Any] = {}
    for setting in settings:
        give_back(camera.bench.device)
        try:
            embeds, peak = camera.encoded(camera.scene.task(setting))
        except Exception as error:
            if setting == "full" or isinstance(error, DeviceLost):
                raise
            found[setting] = error
            say(f"{setting}: encode", "failed", note=str(error))
            continue
        found[setting] = embeds
        say(f"{setting}: encode", peak.seconds, "s")
        camera.tell(f"{setting}: encode", "encode", peak, setting)
    return found


def _lacking(step: str, setting: str) -> str:
    """Why a step cannot be tried on this machine."""
    if step != "quantize":
        return ""
    package = BACKENDS[setting.removeprefix("quantize(").removesuffix(")")]
    return "" if find_spec(package) else f"{package} is not installed"


def _told(
    camera: Camera, setting: str, texts: dict[str, Any], say: Say, first: _Taken | None, *, step: str = "",
    name: str = "",
) -> _Taken | None:  # fmt: skip
    """One setting's rows; what it made."""
    name, embeds = name or setting, texts.get(setting, texts["full"])
    try:
        if isinstance(embeds, Exception):
            raise embeds
        made = _picture(camera, setting, embeds)
    except DeviceLost:
        raise
    except Exception as error:  # noqa: BLE001 - the others are tried all the same
        say(name, "failed", note=f"{type(error).__name__}: {error}")
        return None
    for stage, peak in made.peaks.items():
        say(f"{name}: {stage}", peak.seconds, "s")
        camera.tell(f"{name}: {stage}", stage, peak, setting)
    if first is not None:
        changes = STEPS[step].changes if step else "nothing"
        apart = largest_difference(made.pixels, first.pixels)
        finding = apart > 0 and changes == "nothing"
        note = f"{FINDING if finding else ''}the table of steps says that it changes {changes}"
        say(f"{name}: largest difference", apart, "of 255", note=note, headline=finding or not step)
    return made


def _picture(camera: Camera, setting: str, embeds: list[bytes]) -> _Taken:
    task = camera.scene.task(setting)
    settled = camera.session.prepare("images", task)
    give_back(camera.bench.device)
    latents, denoising = camera.denoised([task], embeds, settled)
    give_back(camera.bench.device)
    pixels, decoding = camera.decoded(task, latents, settled)
    return _Taken(pixels=pixels, peaks={"denoise": denoising, "decode": decoding})


# Compiling


def compiled(bench: Bench, say: Say) -> None:
    """Compiled blocks against plain ones: seconds, differences, and whether a second picture compiles again."""
    camera, task = Camera(bench, bench.large, say), bench.large.task()
    embeds, _ = camera.encoded(task)
    settled = camera.session.prepare("images", task)
    camera.denoised([replace(task, steps=1)], embeds, settled)
    plain, plain_peak = camera.denoised([task], embeds, settled)
    say("eager: a step", plain_peak.seconds / task.steps, "s", of=STEP)
    pixels, _ = camera.decoded(task, plain, settled)

    settled = camera.session.prepare("images", task, compiled=True)
    if excuse := camera.session.take_excuse():
        say("compiled", "not", note=excuse, headline=True)
        return
    _, compiling = camera.denoised([replace(task, steps=1)], embeds, settled)
    say("compiling, with one step", compiling.seconds, "s", headline=True)
    say("graphs compiled", _graphs())
    made, peak = camera.denoised([task], embeds, settled)
    say("compiled: a step", peak.seconds / task.steps, "s", of=FUSED_STEP, headline=True)
    say("eager by compiled", plain_peak.seconds / peak.seconds, "times", headline=True)
    camera.tell("compiled: denoise", "denoise", peak)
    most = float(plain.float().abs().max())
    say("latents: largest difference", largest_difference(made, plain), note=f"of {most:.3g}", headline=True)
    say("pixels: largest difference", largest_difference(camera.decoded(task, made, settled)[0], pixels), "of 255")

    before = _graphs()
    camera.denoised([bench.large.task(seed=1)], embeds, settled)
    say("compiled anew for a second picture", _graphs() - before, headline=True)
    if not bench.compile_batch or say.left() < BATCH_S:
        why = "no time was left" if bench.compile_batch else "on a card only"
        say("compiled anew for a batch of 2", "not tried", note=why)
        return
    before = _graphs()
    pair = [bench.large.task(seed=seed, steps=1) for seed in (0, 1)]
    _, batch = camera.denoised(pair, embeds, settled)
    say("compiled anew for a batch of 2", _graphs() - before, note=f"{batch.seconds:.3g} s with one step")


def _graphs() -> int:
    """How many graphs torch has compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
