"""Sections of a visit about decoding: our tiles against diffusers', and all in one piece."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from batch.base.errors import BatchError
from batch.render import exact, pipelines, tiles
from batch.render.backend import Loads
from batch.render.device import give_back
from batch.render.failures import StageFailed
from batch.render.loading import quiet
from batch.render.pixels import assemble
from benchmarks import rates
from benchmarks.card_bench import Bench
from benchmarks.card_process import Say
from benchmarks.card_rows import FINDING
from benchmarks.card_stages import MIB, Camera, largest_difference


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
    made = way()  # ends with pixels in the host, for which it has waited
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
    pipe = pipelines.load_decoder(scene.source(), scene.dtype, bench.device).to(bench.device)
    pipe.vae.enable_tiling(tile, tile, stride, stride)
    return pipe, _noise(bench, pipe.vae).to(bench.device, pipe.vae.dtype)


def _noise(bench: Bench, vae: Any) -> torch.Tensor:
    scale, size = vae.spatial_compression_ratio, bench.large.size
    shape = (1, vae.config.latent_channels, size.height // scale, size.width // scale)
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(0))


def whole(bench: Bench, say: Say) -> None:
    """Decoding in one piece at the largest size: whether it works, and what is made of it where it does not."""
    camera, task = Camera(bench, bench.large, say), bench.large.task("full")
    camera.session.prepare(Loads.IMAGES, task)  # the denoiser too, as in the prediction
    latents = _noise(bench, camera.session.pipe.vae)
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
