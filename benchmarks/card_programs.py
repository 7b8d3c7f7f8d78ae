"""Sections of a visit that start the program as a user does: beside the plain loop, and under a memory limit."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from batch.base.hardware import no_compiler
from benchmarks.card_bench import ROOT, Bench
from benchmarks.card_process import Say

LOOP = ROOT / "benchmarks" / "against_plain_loop.py"

SPARE_S = 3.0
"""Before a section's end a program is ended, so that what it has said can still be told."""

HEADLINES = ("images_per_hour", "times_floor")

WARM = ("run_batch compiled", "first_image_s")
"""A time that compiling is only partly in: the sections share a folder for what is compiled."""

UNITS = {
    "images_per_hour": "images/h", "seconds_per_image": "s", "times_floor": "times", "tflops": "TFLOP/s",
    "tflop_per_image": "TFLOP", "matrix_tflops_burst": "TFLOP/s", "matrix_tflops_sustained": "TFLOP/s",
}  # fmt: skip
"""Of the loop's columns, but for those that end with ``_s``."""

SETTINGS = ("device", "model", "size", "steps", "guidance", "images", "rounds", "torch")
"""Columns of the loop's table that say what was compared, which the other rows say too."""


def loop(bench: Bench, say: Say) -> None:
    """The program against the plain loop: every figure of its table, and what it printed last."""
    scene = bench.program
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "loop.csv")
        command = [sys.executable, str(LOOP), "--model", scene.model, "--size", str(scene.size), "--steps",
                   str(scene.steps), "--rounds", "1", "--csv", str(table)]  # fmt: skip
        more = () if no_compiler() else bench.loop_options
        # A third side takes as long as the second: an image less of each keeps within the time.
        command += ["--images", str(bench.loop_images - bool(more)), *more]
        told = _ran(command, say.left() - SPARE_S)
        for row in _rows(table):
            for column, value in row.items():
                _figure(say, row["side"], column, value)
    for number, line in enumerate(told.stdout.splitlines()[-2 - bool(more) :], 1):
        say(f"summary, line {number}", line)
    if told.returncode != 0:
        raise RuntimeError(f"{LOOP.name} ended with {told.returncode}: {_last(told)}")


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _figure(say: Say, side: str, column: str, value: str) -> None:
    if not value or column == "side" or column in SETTINGS:
        return
    try:
        figure: float | str = float(value)
    except ValueError:
        figure = value
    unit = UNITS.get(column, "s" if column.endswith("_s") else "")
    note = "blocks that an earlier section compiled are there" if (side, column) == WARM else ""
    say(f"{side}: {column}", figure, unit, note=note, headline=column in HEADLINES)


def limit(bench: Bench, say: Say) -> None:
    """A run that is held to a part of the card: what it did about it, and whether it kept to it."""
    scene = bench.program
    grid = {"model": scene.model, "prompt": "a lighthouse", "seed": 0, "size": str(scene.size), "steps": 2}
    manifest = {"grid": grid, "run": {"compile": "off", "batch": 1, "min_free_disk": "1GB"}}
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "job.yaml"), Path(folder, "out")
        path.write_text(json.dumps(manifest), encoding="utf-8")
        command = [sys.executable, str(ROOT / "run_batch.py"), "run", str(path), "--out", str(out), "--json",
                   "--devices", bench.device.removeprefix("cuda:")]  # fmt: skip
        if bench.vram_limit is None:
            say("limit", "none", note="no CUDA context on a CPU: the run is held to nothing")
        else:
            command += ["--vram-limit", f"{bench.vram_limit / 2**30:g}GiB"]
        start = time.monotonic()
        told = _ran(command, say.left() - SPARE_S, RUN_BATCH_CACHE=str(Path(folder, "cache")))
        say("the whole run", time.monotonic() - start, "s", headline=True)
        _happenings(told.stdout, say)
        for row in _rows(out / "results.csv"):
            _result(bench, row, say)
    if told.returncode != 0:
        raise RuntimeError(f"the run ended with {told.returncode}: {_last(told)}")


def _happenings(lines: str, say: Say) -> None:
    """What the run told beside its images: the limit, and every rung."""
    for line in lines.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        kind = event.get("event", "")
        if kind not in ("start", "loading", "image", "end"):
            rung, text = event.get("rung") or "", str(event.get("text", ""))
            say(f"happened: {kind}", rung, note=text, headline=kind == "out-of-memory")


def _result(bench: Bench, row: dict[str, str], say: Say) -> None:
    most = None if bench.vram_limit is None else bench.vram_limit / 2**20
    say("status", row.get("status", ""), note=row.get("error", ""), headline=True)
    say("memory used", row.get("memory", ""), note=f"asked for: {row.get('degraded_from') or 'the same'}")
    for column, value in row.items():
        if value and column.endswith("_mib"):
            own = most if column == "peak_device_mib" else None
            say(column, float(value), "MiB", predicted=own, headline=own is not None)
        elif value and column.endswith("_s"):
            say(column, float(value), "s")


def _ran(command: list[str], seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program with so many seconds to do it in; what it says goes into the log too."""
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=max(1.0, seconds), check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        said = [_text(part) for part in (error.stdout, error.stderr)]
        print(*said, flush=True)
        told = subprocess.CompletedProcess(command, -1, said[0], f"{said[1]}\nit took longer than {seconds:.0f} s")
    else:
        print(told.stdout, told.stderr, flush=True)
    return told


def _text(part: Any) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part or ""


def _last(told: subprocess.CompletedProcess[str]) -> str:
    return "\n".join((told.stderr or told.stdout).strip().splitlines()[-3:])
