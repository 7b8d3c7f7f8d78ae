"""The program beside the loop it replaces: the same model, prompts, seeds and card, pictures compared.

    python benchmarks/against_plain_loop.py [--model demo-4k] [--steps 4] [--images 6] [--rounds 3]
    python benchmarks/against_plain_loop.py --model random:sana-1.6b-4k --steps 20 --images 12     (on a GPU)
    python benchmarks/against_plain_loop.py --compile both     (a third side: this program with compiled blocks)

The loop is what a user writes: `pipe(prompt, generator=...).images[0].save("x.png")` on a warm pipeline, with
diffusers' own tiling at 1024/896 where this program tiles. Each side renders the images in a process of its own;
the sides take turns, so that a busy moment of the machine meets both. Rates are taken from the first finished
image to the last, this program's from what its rows say lies between two images, since its files are saved behind
the next image: loading and the first image are told apart. The FLOPs of an image are counted by torch over one
step and one decoding; the floor is what they take at the rate that large matrix products sustain here.

With `--compile on` or `both` this program compiles its blocks; the loop never does. All images have one size, so
the first pays for compiling: `first_image_s` has it, the rate does not. Only models whose texts vary in length
(see `docs/models.md`) compile a second time within the rate. Every round compiles anew, unless
TORCHINDUCTOR_CACHE_DIR names a folder for what is compiled. Compiled pictures differ in low bits, so each side
says how far it is off.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(ROOT / "tests" / "models"))

from batch.base.errors import BatchError  # noqa: E402 - the folder above is on the path now
from benchmarks import asked  # noqa: E402

PROMPTS = (
    "a lighthouse on a cliff at dusk, long exposure, film grain",
    "an old bookshop in the rain, warm light in the windows",
    "a mountain lake at sunrise, mist over the water, pine forest",
    "a market street seen from above, umbrellas, crowd",
)


@dataclass(frozen=True)
class Job:
    """What both sides render."""

    model: str
    size: str
    steps: int
    images: int
    device: str

    def pairs(self) -> list[tuple[str, int]]:
        """Prompt and seed of every image, in the order this program renders them: a seed's prompts first."""
        seeds = range(-(-self.images // len(PROMPTS)))
        return [(prompt, seed) for seed in seeds for prompt in PROMPTS][: self.images]


# The plain loop, in a process of its own


def plain(job: Job, folder: Path) -> None:
    """Render with the pipeline itself; prints a line for the load, each image, the FLOPs and the rates."""
    import diffusers.utils.logging
    import torch
    import transformers.utils.logging

    from batch.hub import models
    from batch.memory.profiles import AUTO_TILE, AUTO_TILE_ABOVE
    from benchmarks.rates import matrix_rate

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
    start = time.perf_counter()
    model = models.find_model(job.model, ROOT, {}, online=False)
    pipe = whole(models.source(model), model.dtype, job.device)
    width, height = (int(side) for side in job.size.split("x"))
    if width * height > AUTO_TILE_ABOVE:
        tile, stride = AUTO_TILE
        pipe.vae.enable_tiling(tile, tile, stride, stride)
    say(kind="load", seconds=time.perf_counter() - start)
    call = {"width": width, "height": height, "num_inference_steps": job.steps, "guidance_scale": model.guidance}
    with stages(pipe, job.device) as spent:
        for number, (prompt, seed) in enumerate(job.pairs()):
            spent.clear()
            begun = time.perf_counter()
            image = pipe(prompt, generator=torch.Generator("cpu").manual_seed(seed), **call).images[0]
            made = time.perf_counter()
            image.save(folder / f"{number:03}.png")
            say(
                kind="image",
                spent={**spent, "save": time.perf_counter() - made},
                total=time.perf_counter() - begun,
            )
    say(kind="cost", flops=flops(pipe, call), **asdict(matrix_rate(job.device, pipe.transformer.dtype)))


def whole(source: Any, dtype: str, device: str) -> Any:
    """The pipeline with all its components, warm on the device."""
    from batch.render import pipelines

    # Random weights are drawn where they are to lie: a CPU takes minutes for billions, and they are the same.
    return pipelines.load(source, dtype, device if source.random else "cpu").to(device)


@contextmanager
def stages(pipe: Any, device: str) -> Iterator[dict[str, float]]:
    """Times what the call does inside: denoising is what is left of it."""
    import torch

    spent: dict[str, float] = {}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            start = time.perf_counter()
            result = function(*arguments, **named)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    pipe.encode_prompt = timed("encode", pipe.encode_prompt)
    pipe.vae.decode = timed("decode", pipe.vae.decode)
    pipe.image_processor.postprocess = timed("convert", pipe.image_processor.postprocess)
    yield spent


def flops(pipe: Any, call: dict[str, Any]) -> float:
    """Floating-point operations of one image: of one step times the steps, and of one decoding."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    once = {**call, "num_inference_steps": 1}
    with FlopCounterMode(display=False) as step:
        texts = pipe.encode_prompt("x", device=pipe._execution_device)
    encoding = step.get_total_flops()
    with FlopCounterMode(display=False) as step:
        latents = pipe("x", output_type="latent", generator=torch.Generator("cpu").manual_seed(0), **once).images
    del texts
    with FlopCounterMode(display=False) as decoding, torch.no_grad():
        pipe.vae.decode(latents.to(pipe.vae.dtype) / pipe.vae.config.scaling_factor)
    # Guidance encodes two texts in that call.
    denoising = step.get_total_flops() - encoding
    return float(denoising * call["num_inference_steps"] + decoding.get_total_flops())


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


# Both sides, in turn


@dataclass
class Side:
    """What one side took, over all rounds."""

    name: str
    compile: str = "off"
    per_image: list[float] = field(default_factory=list)
    whole_run: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    pictures: list[np.ndarray] = field(default_factory=list)


OURS = {"off": ("off",), "on": ("on",), "both": ("off", "on")}
"""What `run.compile` is on our sides, by what `--compile` says."""


def our_sides(wish: str) -> list[Side]:
    names = {"off": "run_batch", "on": "run_batch compiled"}
    return [Side(names[state], state) for state in OURS[wish]]


@dataclass(frozen=True)
class Work:
    """What an image takes, and what the device could do at best: medians over the rounds."""

    flops: float
    burst: float
    """FLOP/s of a few matrix products."""
    sustained: float
    """FLOP/s of matrix products one after the other."""

    @property
    def floor(self) -> float:
        """Seconds of an image that is nothing but matrix products."""
        return self.flops / self.sustained


def run_plain(job: Job, side: Side, costs: list[dict[str, float]], threads: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--side", json.dumps(job.__dict__), "--folder", folder]
        events, times = follow(command, threads)
        images = [time for event, time in zip(events, times, strict=True) if event["kind"] == "image"]
        take(side, images, (images[-1] - images[0]) / (len(images) - 1))
        for event in events[2:]:  # the first image warms up
            for name, seconds in event.get("spent", {}).items():
                side.stages.setdefault(name, []).append(seconds)
            if event["kind"] == "image":
                side.stages.setdefault("denoise", []).append(event["total"] - sum(event["spent"].values()))
        costs.append(events[-1])
        side.pictures = side.pictures or [pixels(path) for path in sorted(Path(folder).glob("*.png"))]


def run_ours(job: Job, side: Side, threads: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        manifest = Path(place, "job.yaml")
        axes = {
            "model": job.model, "prompt": list(PROMPTS), "seed": f"0..{-(-job.images // len(PROMPTS)) - 1}",
            "size": job.size, "steps": job.steps,
        }  # fmt: skip
        text = {"grid": axes, "run": {"compile": side.compile, "min_free_disk": "1GB", "batch": 1}}
        manifest.write_text(json.dumps(text), encoding="utf-8")
        out = Path(place, "out")
        command = [sys.executable, str(ROOT / "run_batch.py"), "run", str(manifest), "--out", str(out), "--json",
                   "--max-images", str(job.images), "--devices", job.device.removeprefix("cuda:")]  # fmt: skip
        start = time.time()
        follow(command, threads, cache=Path(place, "cache"), codes=(0, 75))
        # When an image was committed, not when it was told, which is an image later.
        receipts = (out / ".run" / "receipts").rglob("*.json")
        committed = sorted(path.stat().st_mtime - start for path in receipts)
        rows = pd.read_csv(out / "results.csv")
        rows = rows[rows["status"] == "done"]
        # Not from file to file: the first is saved slowly, the last with nothing behind it.
        apart = rows[["denoise_s", "decode_s", "between_s"]].sum(axis=1)[1:]
        take(side, committed, float(apart.mean()))
        if side.compile == "on" and not (rows["compile"] == "on").all():
            sys.exit(f"{job.model} cannot be compiled here, as the messages above say; leave out --compile")
        for name in ("encode", "denoise", "decode", "save"):
            side.stages.setdefault(name, []).extend(rows[f"{name}_s"].dropna()[1:])
        if not side.pictures:
            files = {(row.prompt, row.seed): str(row.file) for row in rows.itertuples()}
            side.pictures = [pixels(out / files[pair]) for pair in job.pairs()]


def take(side: Side, images: list[float], per_image: float) -> None:
    side.first.append(images[0])
    side.whole_run.append(images[-1])
    side.per_image.append(per_image)


def follow(
    command: list[str], threads: str, *, cache: Path | None = None, codes: tuple[int, ...] = (0,)
) -> tuple[list[dict[str, Any]], list[float]]:
    """The lines of a program and the seconds from its start to each."""
    own = {"RUN_BATCH_CACHE": str(cache)} if cache else {}
    environment = {**os.environ, "OMP_NUM_THREADS": threads, **own}
    start, events, times = time.perf_counter(), [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            events.append(json.loads(line))
            times.append(time.perf_counter() - start)
    if process.returncode not in codes:
        sys.exit(f"{' '.join(command[:4])} … ended with {process.returncode}")
    return events, times


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def same(one: list[np.ndarray], two: list[np.ndarray]) -> str:
    equal = sum(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    most = max(int(np.abs(a.astype(np.int16) - b).max()) for a, b in zip(one, two, strict=True))
    return f"{equal} of {len(one)} pictures have the same pixels; the largest difference is {most} of 255"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo-4k", help="default: demo-4k; on a GPU random:sana-1.6b-4k")
    parser.add_argument("--size", default="", help="default: the model's native size")
    parser.add_argument("--steps", type=asked.whole, default=4, help="denoising steps; default: 4")
    parser.add_argument(
        "--images", type=asked.whole, default=6, help="of each side in a round, at least 2; default: 6"
    )
    parser.add_argument("--rounds", type=asked.whole, default=3, help="of all sides; default: 3")
    parser.add_argument(
        "--compile", choices=OURS, default="off", help="this program's run.compile, or both in turn; default: off"
    )
    parser.add_argument(
        "--csv", type=asked.file, default=None, help="default: docs/benchmarks/, named after the device"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.images < 2:
        parser.error("--images: a rate needs two images at least")
    if given.side:
        plain(Job(**json.loads(given.side)), given.folder)
        return
    try:
        compare(given)
    except BatchError as error:
        parser.error(str(error))


def compare(given: argparse.Namespace) -> None:
    import torch

    from batch.hub.models import find_model

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = find_model(given.model, ROOT, {}, online=False)
    size = asked.size(model, given.size or str(model.native))
    job = Job(given.model, str(size), given.steps, given.images, device)
    loop, ours = Side("plain loop"), our_sides(given.compile)
    costs: list[dict[str, float]] = []
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    for _ in range(given.rounds):
        run_plain(job, loop, costs, threads)
        work = Work(*(statistics.median(cost[name] for cost in costs) for name in ("flops", "burst", "sustained")))
        for side in ours:
            run_ours(job, side, threads)
            # Now and not at the end alone: who ends it early has what was measured.
            sides = [each for each in (loop, *ours) if each.per_image]
            settings, rows = kept(job, sides, work, given.csv, model.guidance)
    print(heading(settings, work))
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    print(f"\n{summary(rows)}")
    for side in ours:
        print(f"{side.name}: {same(loop.pictures, side.pictures)}")


def kept(
    job: Job, sides: list[Side], work: Work, path: Path | None, guidance: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write the table anew: what was compared, and a row for each side."""
    import torch

    card = torch.cuda.get_device_name() if job.device != "cpu" else f"{platform.machine()}, {os.cpu_count()} cores"
    rows = [row(side, work) for side in sides]
    settings = {"device": card, "model": job.model, "size": job.size, "steps": job.steps, "guidance": guidance,
                "images": job.images, "rounds": len(sides[0].per_image), "torch": torch.__version__,
                "tflop_per_image": work.flops / 1e12, "matrix_tflops_burst": work.burst / 1e12,
                "matrix_tflops_sustained": work.sustained / 1e12}  # fmt: skip
    path = path or ROOT / "docs" / "benchmarks" / f"against_plain_loop-{file_name(card)}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{**settings, **item} for item in rows]).to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
    return settings, rows


def heading(settings: dict[str, Any], work: Work) -> str:
    run = (
        "{device}; {model} {size}, {steps} steps, guidance {guidance}; {rounds} rounds of {images} images, "
        "the sides in turn, medians; torch {torch}"
    ).format(**settings)
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    floor = (
        f"one image takes {work.flops / 1e12:.3g} TFLOP; large matrix products sustain "
        f"{work.sustained / 1e12:.3g} TFLOP/s here, so the floor (times_floor = 1) is {work.floor:.3g} s; "
        f"in a burst they reach {work.burst / 1e12:.3g}, and it is {work.flops / work.burst:.3g} s"
    )
    rates = (
        "Rates are those from image to image: start, loading, compiling and the first image are left out; they "
        "are in first_image_s and all_images_s."
    )
    return f"{run}{load}\n{floor}\n{rates}\n"


def summary(rows: list[dict[str, Any]]) -> str:
    """How many times the loop's images our sides make; the loop's row is the first."""
    loop, first, *compiled = rows
    times = [item["images_per_hour"] / loop["images_per_hour"] for item in (first, *compiled)]
    text = f"{first['side']} makes {times[0]:.2f} times as many images an hour"
    return text + "".join(f", compiled {each:.2f} times" for each in times[1:])


def row(side: Side, work: Work) -> dict[str, Any]:
    seconds = statistics.median(side.per_image)
    spent = {f"{name}_s": statistics.median(values) for name, values in sorted(side.stages.items())}
    return {
        "side": side.name,
        "images_per_hour": 3600 / seconds,
        "seconds_per_image": seconds,
        "times_floor": seconds / work.floor,
        "tflops": work.flops / seconds / 1e12,
        "share_of_matrix_rate": work.floor / seconds,
        "first_image_s": statistics.median(side.first),
        "all_images_s": statistics.median(side.whole_run),
        **spent,
    }


def file_name(card: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in card.lower()).split())


if __name__ == "__main__":
    main()
