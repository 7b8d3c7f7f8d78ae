"""Section of a second visit: the model with the kernels of fused_kernels.py, each alone, both, and compiled."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from batch.records.tasks import Task
from batch.records.values import Call
from batch.render.backend import Loads
from benchmarks.card_bench import Bench
from benchmarks.card_predictions import DECODE, FUSED_STEP, STEP
from benchmarks.card_process import Say
from benchmarks.card_stages import Camera, largest_difference

DECODER_S = 40.0
"""Left at least when the decoder is compiled too."""


def fused(bench: Bench, say: Say) -> None:
    """Seconds of a step and of decoding in every way, and how far latents and picture are from the plain ones."""
    if not bench.on_card or find_spec("triton") is None:
        say("kernels in place", "not here", note="they need Triton and a card", headline=True)
        return
    from benchmarks.fused_kernels import in_place

    camera, task = Camera(bench, bench.large, say), bench.large.task()
    embeds, _ = camera.encoded(task)
    settled = camera.session.prepare(Loads.IMAGES, task)
    transformer: Any = camera.session.pipe.transformer

    def step(name: str, of: str) -> torch.Tensor:
        first, latents, peak = camera.warm_denoised(task, embeds, settled)
        note = f"the first took {first.seconds:.3g} s"
        say(f"{name}: a step", peak.seconds / task.steps, "s", of=of, note=note, headline=True)
        camera.tell(f"{name}: denoise", "denoise", peak)
        return latents

    plain = step("plain", STEP)
    pixels = _decoded(camera, task, plain, settled, say, "plain")
    for part in ("attention", "feed-forward"):
        with in_place(transformer, part):
            _apart(step(part, STEP), plain, part, say)
    with in_place(transformer, "attention", "feed-forward"):
        latents = step("both", STEP)
        _apart(latents, plain, "both", say)
        settled = camera.session.prepare(Loads.IMAGES, task, compiled=True)
        latents = step("both, compiled", FUSED_STEP)
        _apart(latents, plain, "both, compiled", say)
    made = camera.decoded(task, latents, settled)[0]
    say("pixels: largest difference", largest_difference(made, pixels), "of 255", headline=True)
    if say.left() < DECODER_S:
        say("decoder compiled", "not tried", note="no time was left")
        return
    camera.session.pipe.vae.decoder.compile(dynamic=False)
    made = _decoded(camera, task, plain, settled, say, "compiled")
    say("decoder compiled: largest difference", largest_difference(made, pixels), "of 255", headline=True)


def _decoded(
    camera: Camera, task: Task, latents: torch.Tensor, steps: tuple[Call, ...], say: Say, name: str
) -> Any:
    first, pixels, peak = camera.warm_decoded(task, latents, steps)
    note = f"the first took {first.seconds:.3g} s"
    say(f"{name}: decode", peak.seconds, "s", of=DECODE, note=note, headline=True)
    camera.tell(f"{name}: decode", "decode", peak)
    return pixels


def _apart(latents: torch.Tensor, plain: torch.Tensor, name: str, say: Say) -> None:
    most = float(plain.float().abs().max())
    say(f"{name}: latents, largest difference", largest_difference(latents, plain), note=f"of {most:.3g}")
