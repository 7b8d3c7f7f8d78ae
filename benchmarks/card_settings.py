"""Sections of a visit about what a session can be set to: every memory step, and compiled blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

from batch.base.errors import DeviceLost
from batch.memory.steps import BACKENDS, STEPS
from batch.records.receipts import StagePeak
from batch.render.backend import Loads
from batch.render.device import give_back
from benchmarks.card_bench import STEP_SETTINGS, Bench
from benchmarks.card_predictions import FUSED_STEP, STEP
from benchmarks.card_process import Say
from benchmarks.card_rows import FINDING
from benchmarks.card_stages import Camera, largest_difference

BATCH_S = 25.0
"""Left at least when a batch is compiled too."""

OWN_TEXTS = {
    "text_encoder_offload": ("text_encoder_offload", "sequential_cpu_offload"),
    "text_encoder_cpu": ("text_encoder_cpu",),
}
"""Before which settings texts are encoded anew, and under which."""


# Memory steps


@dataclass(slots=True)
class _Taken:
    """What one setting made."""

    pixels: Any
    peaks: dict[str, StagePeak]


def steps(bench: Bench, say: Say) -> None:
    """Every memory step on one warm session, and nothing of it left at the end."""
    camera = Camera(bench, bench.small, say)
    texts = _encoded(camera, ("full",), say)
    first = _told(camera, "full", texts, say, None)
    for step, setting in STEP_SETTINGS:
        if own := OWN_TEXTS.get(setting, ()):  # for which the session lets the images' part go
            _told(camera, "full", texts, say, first, name=f"full before {setting}")
            texts |= _encoded(camera, own, say)
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
            embeds, peaks = camera.encoded(camera.scene.task(setting))
        except Exception as error:
            if setting == "full" or isinstance(error, DeviceLost):
                raise
            found[setting] = error
            say(f"{setting}: encode", "failed", note=str(error))
            continue
        found[setting] = embeds
        say(f"{setting}: encode, first text", peaks[0].seconds, "s")
        say(f"{setting}: encode", peaks[-1].seconds, "s")
        camera.tell(f"{setting}: encode", "encode", peaks[-1], setting)
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
        if setting != "vae_cpu":  # it takes longer than all others together
            cold = _picture(camera, setting, embeds)
            spent = sum(peak.seconds for peak in cold.peaks.values())
            say(f"{name}: first picture, with setting up", spent, "s")
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
    settled = camera.session.prepare(Loads.IMAGES, task)
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
    settled = camera.session.prepare(Loads.IMAGES, task)
    _, plain, plain_peak = camera.warm_denoised(task, embeds, settled)
    say("eager: a step", plain_peak.seconds / task.steps, "s", of=STEP)
    pixels, _ = camera.decoded(task, plain, settled)
    with _tokens_in_rows(camera):
        _, made, peak = camera.warm_denoised(task, embeds, settled)
    note = f"latents differ by {largest_difference(made, plain):.3g}"
    say("eager, tokens in rows: a step", peak.seconds / task.steps, "s", of=STEP, note=note)

    settled = camera.session.prepare(Loads.IMAGES, task, compiled=True)
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


@contextmanager
def _tokens_in_rows(camera: Camera) -> Iterator[None]:
    """With the channels of a token side by side from the patch embedding on: see batch/render/exact.py."""
    embed = camera.session.pipe.transformer.patch_embed
    hook = embed.register_forward_hook(lambda _module, _inputs, tokens: tokens.contiguous())
    try:
        yield
    finally:
        hook.remove()


def _graphs() -> int:
    """How many graphs torch has compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
