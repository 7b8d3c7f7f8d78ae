"""How soon a run has its first picture, with texts in portions and with all texts first.

    python benchmarks/first_picture.py [--prompts 1632] [--whole 60]

The job is a list of prompts x 4 seeds x 2 sizes of a small model with random weights, whose text encoder costs
about a quarter of a second a text on two cores. Each way is the program as the command line starts it, on the CPU,
with an empty cache of texts. The time is from the start of its process to its first image; then it is killed. A
run with --max-images 3 is timed to its end. Then a smaller job, whole, by both ways in turn: their medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
OURS = dict(os.environ)
"""As this was started: what the tests set for themselves (one thread, no worker) is no part of it."""
sys.path.insert(0, str(ROOT))

JOB = """\
name: first
grid: {model: model, prompt: {file: prompts.txt}, seed: 0..3, size: [64x64, 96x64], steps: 1, guidance: 1}
resize: true
run: {min_free_disk: 1MB}
"""
WHO = (
    "a fox",
    "an old sailor",
    "two children",
    "a heron",
    "a clockmaker",
    "a steam engine",
    "a cat",
    "a violinist",
)
WHERE = ("in a harbour", "under pines", "on a rooftop", "in a greenhouse", "at a market", "beside a river")
LIGHT = ("at dusk", "in morning fog", "in hard noon light", "by candlelight", "under the northern lights")
HOW = (
    "35mm film, grainy, a shallow depth of field",
    "oil on canvas, thick strokes",
    "ink and wash on rough paper",
    "a lithograph in four colours, flat shapes, high detail",
)


def prompts(count: int) -> list[str]:
    """As people write them, of 15 to 25 words."""
    made = [f"{who} {where} {light}, {how}" for how in HOW for light in LIGHT for where in WHERE for who in WHO]
    return [f"{made[number % len(made)]}, study number {number}" for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1632)
    parser.add_argument("--whole", type=int, default=60, help="prompts of the smaller job")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model(Path(place, "model"))
        job = write_job(Path(place, "large"), given.prompts, Path(place, "model"))
        for way in ("portions", "all at once"):
            taken_s, cpu_s = first_picture(job, way)
            print(
                f"{given.prompts} prompts, {way}: first picture after {taken_s:.1f} s "
                f"({cpu_s:.1f} s of processor time)",
                flush=True,
            )
        start = time.perf_counter()
        subprocess.run(command(job, "three", "--max-images", "3"), env=env(job, "portions", "three"), check=False)
        print(f"--max-images 3: the run ends after {time.perf_counter() - start:.1f} s", flush=True)
        small = write_job(Path(place, "small"), given.whole, Path(place, "model"))
        taken: dict[str, list[float]] = {"portions": [], "all at once": []}
        for number in range(given.rounds):
            for way, times in taken.items():
                times.append(whole(small, way, number))
        ours, before = (statistics.median(taken[way]) for way in ("portions", "all at once"))
        print(
            f"{given.whole} prompts, whole: portions {ours:.1f} s, all at once {before:.1f} s: {ours / before:.2f}"
        )


def model(folder: Path) -> None:
    """A tiny PixArt with a text encoder that costs something."""
    from transformers import T5Config, T5EncoderModel

    from tests import tiny_models

    tiny_models.build("pixart", folder)
    config = json.loads((folder / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    sized = {"d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 8}
    T5EncoderModel(T5Config(**{**config, **sized})).save_pretrained(folder / "text_encoder")


def write_job(place: Path, count: int, model: Path) -> Path:
    place.mkdir()
    (place / "prompts.txt").write_text("\n".join(prompts(count)), encoding="utf-8")
    (place / "job.yaml").write_text(
        JOB.replace("model: model", f"model: {json.dumps(str(model))}"), encoding="utf-8"
    )
    return place


def command(job: Path, out: str, *more: str) -> list[str]:
    return [sys.executable, __file__, "--run", str(job / "job.yaml"), "--out", str(job / out), "--json", *more]


def env(job: Path, way: str, out: str) -> dict[str, str]:
    cache = str(job / f"cache {out}")
    return {**OURS, "RUN_BATCH_CACHE": cache, "FIRST_PICTURE_WAY": way, "PYTHONPATH": str(ROOT)}


def first_picture(job: Path, way: str) -> tuple[float, float]:
    """Seconds from the start of the process, and what it and its worker computed: another load moves that less."""
    start = time.perf_counter()
    run = subprocess.Popen(command(job, way), env=env(job, way, way), stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if json.loads(line)["event"] == "image":
            break
    taken = time.perf_counter() - start
    ours = psutil.Process(run.pid)
    times = [process.cpu_times() for process in (ours, *ours.children(recursive=True))]
    run.kill()
    run.wait()
    return taken, sum(item.user + item.system for item in times)


def whole(job: Path, way: str, number: int) -> float:
    start, out = time.perf_counter(), f"{way} {number}"
    subprocess.run(command(job, out), env=env(job, way, out), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def run() -> int:
    """The command line; where all texts come first, told that encoders have no room."""
    from batch.cli.main import main as command_line
    from batch.run import encoders

    if os.environ["FIRST_PICTURE_WAY"] == "all at once":
        encoders.apart = lambda *_given, **_named: "asked for"
    sys.argv = [sys.argv[0], "run", *sys.argv[2:]]
    return command_line(sys.argv[1:])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        raise SystemExit(run())
    main()
