"""The program beside the loop it replaces: the same model, prompts, seeds and card, pictures compared.

    python benchmarks/against_plain_loop.py [--model demo-4k] [--steps 4] [--images 6] [--rounds 3]
    python benchmarks/against_plain_loop.py --model random:sana-1.6b-4k --steps 20 --images 12     (on a GPU)

The loop is what a user writes: `pipe(prompt, generator=...).images[0].save("x.png")` on a warm pipeline, with
diffusers' own tiling at 1024/896 where this program tiles. Each side renders the images in a process of its own;
the sides take turns, so that a busy moment of the machine meets both. Rates are taken from the first finished
image to the last: loading and the first image are told apart. The FLOPs of an image are counted by torch over one
step and one decoding; the floor is what they take at the rate of a large matrix product measured here.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(ROOT / "tests" / "models"))

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
    """Render with the pipeline itself; prints a line for the load, each image, the FLOPs and the rate."""
    import diffusers.utils.logging
    import torch
    import transformers.utils.logging

    from batch import hub
    from batch.plan.memory import AUTO_TILE, AUTO_TILE_ABOVE

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
    start = time.perf_counter()
    model = hub.find_model(job.model, ROOT, {}, online=False)
    pipe = whole(hub.source(model), model.dtype, job.device)
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
    say(kind="cost", flops=flops(pipe, call), rate=rate(torch, job.device, pipe.transformer.dtype))


def whole(source: Any, dtype: str, device: str) -> Any:
    """The pipeline with all its components, warm on the device."""
    from batch.render.families import common

    return common.load(source, dtype).to(device)


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


def rate(torch: Any, device: str, dtype: Any) -> float:
    """FLOP/s of a large matrix product, the best of several."""
    side, best = (8192 if device.startswith("cuda") else 2048), float("inf")
    one, two = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    for _ in range(8):
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(one, two)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return float(2 * side**3 / best)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


# Both sides, in turn


@dataclass
class Side:
    """What one side took, over all rounds."""

    name: str
    per_image: list[float]
    whole_run: list[float]
    first: list[float]
    stages: dict[str, list[float]]
    pictures: list[np.ndarray]


def run_plain(job: Job, side: Side, costs: list[dict[str, float]], threads: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--side", json.dumps(job.__dict__), "--folder", folder]
        events, times = follow(command, threads)
        images = [time for event, time in zip(events, times, strict=True) if event["kind"] == "image"]
        take(side, images)
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
        text = {"grid": axes, "run": {"compile": "off", "min_free_disk": "1GB", "batch": 1}}
        manifest.write_text(json.dumps(text), encoding="utf-8")
        out = Path(place, "out")
        command = [sys.executable, str(ROOT / "run_batch.py"), "run", str(manifest), "--out", str(out), "--json",
                   "--max-images", str(job.images), "--devices", job.device.removeprefix("cuda:")]  # fmt: skip
        start = time.time()
        follow(command, threads, cache=Path(place, "cache"), codes=(0, 75))
        # When an image was committed, not when it was told, which is an image later.
        receipts = (out / ".run" / "receipts").rglob("*.json")
        take(side, sorted(path.stat().st_mtime - start for path in receipts))
        rows = pd.read_csv(out / "results.csv")
        rows = rows[rows["status"] == "done"]
        for name in ("encode", "denoise", "decode", "save"):
            side.stages.setdefault(name, []).extend(rows[f"{name}_s"].dropna()[1:])
        if not side.pictures:
            files = {(row.prompt, row.seed): row.file for row in rows.itertuples()}
            side.pictures = [pixels(out / files[pair]) for pair in job.pairs()]


def take(side: Side, images: list[float]) -> None:
    side.first.append(images[0])
    side.whole_run.append(images[-1])
    side.per_image.append((images[-1] - images[0]) / (len(images) - 1))


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo-4k", help="default: demo-4k; on a GPU random:sana-1.6b-4k")
    parser.add_argument("--size", default="", help="default: the model's native size")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps; default: 4")
    parser.add_argument("--images", type=int, default=6, help="of each side in a round, at least 2; default: 6")
    parser.add_argument("--rounds", type=int, default=3, help="of both sides; default: 3")
    parser.add_argument("--csv", type=Path, default=None, help="default: docs/benchmarks/, named after the device")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.images < 2:
        parser.error("--images: a rate needs two images at least")
    if given.side:
        plain(Job(**json.loads(given.side)), given.folder)
        return
    compare(given)


def compare(given: argparse.Namespace) -> None:
    import torch

    from batch import hub

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = hub.find_model(given.model, ROOT, {}, online=False)
    job = Job(given.model, given.size or str(model.native), given.steps, given.images, device)
    loop, ours = (Side(name, [], [], [], {}, []) for name in ("plain loop", "run_batch"))
    costs: list[dict[str, float]] = []
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    for _ in range(given.rounds):
        run_plain(job, loop, costs, threads)
        run_ours(job, ours, threads)
    report(job, (loop, ours), costs, given, model.guidance)


def report(
    job: Job, sides: tuple[Side, Side], costs: list[dict[str, float]], given: argparse.Namespace, guidance: float
) -> None:
    import torch

    card = torch.cuda.get_device_name() if job.device != "cpu" else f"{platform.machine()}, {os.cpu_count()} cores"
    work, best = statistics.median(item["flops"] for item in costs), max(item["rate"] for item in costs)
    rows = [row(side, work, best) for side in sides]
    path = given.csv or ROOT / "docs" / "benchmarks" / f"against_plain_loop-{file_name(card)}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"device": card, "model": job.model, "size": job.size, "steps": job.steps, "guidance": guidance,
                "images": job.images, "rounds": given.rounds, "torch": torch.__version__}  # fmt: skip
    pd.DataFrame([{**settings, **item} for item in rows]).to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
    print(f"{card}; {job.model} {job.size}, {job.steps} steps, guidance {guidance}; {given.rounds} rounds of "
          f"{job.images} images, the sides in turn, medians; torch {torch.__version__}, "
          f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "")  # fmt: skip
    print(f"one image takes {work / 1e12:.3g} TFLOP; a large matrix product reaches {best / 1e12:.3g} TFLOP/s "
          f"here, so the floor (times_floor = 1) is {work / best:.3g} s an image")  # fmt: skip
    print("Rates run from the first finished image to the last: start, loading and the first image are left out; "
          "they are in first_image_s and all_images_s.\n")  # fmt: skip
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    times = rows[1]["images_per_hour"] / rows[0]["images_per_hour"]
    print(f"\nrun_batch makes {times:.2f} times as many images an hour")
    print(same(sides[0].pictures, sides[1].pictures))


def row(side: Side, work: float, best: float) -> dict[str, Any]:
    seconds = statistics.median(side.per_image)
    spent = {f"{name}_s": statistics.median(values) for name, values in sorted(side.stages.items())}
    return {
        "side": side.name,
        "images_per_hour": 3600 / seconds,
        "seconds_per_image": seconds,
        "times_floor": seconds / (work / best),
        "tflops": work / seconds / 1e12,
        "share_of_matrix_rate": work / seconds / best,
        "first_image_s": statistics.median(side.first),
        "all_images_s": statistics.median(side.whole_run),
        **spent,
    }


def file_name(card: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in card.lower()).split())


if __name__ == "__main__":
    main()
