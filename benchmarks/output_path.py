"""From a decoded tensor to a file that is safe on disk: this program beside a plain loop.

    python benchmarks/output_path.py                  the tables, and docs/benchmarks/output_path.csv: half an hour
    python benchmarks/output_path.py --quick --csv x.csv     small pictures, one round: seconds

What an image costs: tensor to 8-bit pixels, encoding with metadata, thumbnail, checksum, written and synced, its
receipt. Beside it ``VaeImageProcessor.postprocess`` and ``image.save`` with Pillow's defaults, which do less: no
thumbnail, no checksum, no sync.

How long the device waits: a run through the program's own planning, worker and saver, whose device step is a
sleep, as a GPU works by itself, and whose pictures lie ready. Beside it a loop that sleeps, converts and saves.
On either side the device is taken to have scaled and clamped the tensor.

The two sides take turns in every round, in one process; medians count. What is lossless is decoded and compared.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))

from batch.base import atomic
from batch.cli.progress import Silent
from batch.manifest import formats
from batch.plan.identity import identify
from batch.records.receipts import Machine, Measurement, Receipt
from batch.records.tasks import Task
from batch.render.pixels import to_uint8
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from batch.store.folder import RunFolder
from batch.store.images import encoders, reading
from benchmarks.textures import HEIGHT, TEXTURES, WIDTH, Pixels
from tools.extras import extra

with extra("jxl"):
    import imagecodecs
from tests import fake_session as fake
from tests.fake_session import FakeBackend, Fault

CSV = Path(__file__).parent.parent / "docs" / "benchmarks" / "output_path.csv"

PLAIN: dict[str, dict[str, Any]] = {
    "png": {}, "jpeg": {}, "webp": {}, "webp-lossless": {"lossless": True}, "avif": {}, "tiff": {}, "jxl": {},
}  # fmt: skip
"""The plain loop's arguments of ``image.save``. Pillow writes no JPEG XL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the tables; what does not belong to it is empty."""

    table: str
    picture: str
    case: str
    seconds: float
    plain_seconds: float | None = None
    mb: float | None = None
    plain_mb: float | None = None
    waits_percent: float | None = None
    """Of the time from one device step's start to the next one's, how much is not the step."""
    plain_waits_percent: float | None = None

    def cells(self) -> dict[str, str]:
        """As they are printed and written; seconds and MB to three digits or so."""
        return {key: _cell(value) for key, value in asdict(self).items()}


def _cell(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 1 else f"{value:.2f}"
    return value or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run whose device takes so long for a step."""

    model: str
    width: int
    height: int
    step: float
    images: int
    section: str = "format: png"
    """Of the manifest: how images are written."""

    @property
    def name(self) -> str:
        """As it stands in the tables."""
        kind = "" if self.section == "format: png" else f", {self.section.removeprefix('format: png, ')}"
        return f"{self.width}x{self.height}, step {self.step:g} s{kind}"


CASES = (
    Case(model="demo-4k", width=WIDTH, height=HEIGHT, step=3, images=5),
    Case(model="demo-4k", width=WIDTH, height=HEIGHT, step=1, images=5),
    Case(model="demo-4k", width=WIDTH, height=HEIGHT, step=3, images=5, section="format: png, level: 6"),
    Case(model="demo-1k", width=1024, height=1024, step=0.1, images=30),
    Case(model="demo", width=512, height=512, step=0.1, images=30),
)
QUICK = (Case(model="demo", width=512, height=512, step=0.05, images=4),)


def tensor_of(pixels: Pixels) -> torch.Tensor:
    """What an autoencoder would have given: ``[1, 3, H, W]`` in -1..1, float32."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float().div_(127.5).sub_(1).contiguous()


def task_of(name: str, width: int, height: int) -> Task:
    return identify(
        Task(
            model="demo", dtype="float32", prompt="a fox in the snow, golden hour, 85 mm", seed=1, width=width,
            height=height, rendered_width=width, rendered_height=height, steps=20, guidance=4.5, format=name,
            name=f"fox-{name}",
        )
    )  # fmt: skip


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# What an image costs


def ours(tensor: torch.Tensor, task: Task, folder: RunFolder) -> None:
    """As the worker and its saver do it, one after the other."""
    commit(folder, task, folder.save_image(task, to_uint8(tensor)))


def commit(folder: RunFolder, task: Task, file: Any) -> None:
    measured, machine = Measurement(), Machine(device="cpu")
    folder.commit(Receipt(task=task, file=file, measurement=measured, machine=machine, attempts=1, started_at=""))


def plain(tensor: torch.Tensor, path: Path, options: dict[str, Any], *, scaled: bool = False) -> None:
    """As the loop around a pipeline does it; ``scaled`` where the device has brought it to 0..1 already."""
    (image,) = VaeImageProcessor().postprocess(tensor, output_type="pil", do_denormalize=[not scaled])
    image.save(path, **options)


def compare(pixels: Pixels, path: Path, name: str) -> None:
    if formats.FORMATS[name].lossless and not np.array_equal(reading.read_pixels(path), pixels):
        raise SystemExit(f"{path.name}: {name} is lossless, but its pixels are not those that were saved")


def format_rows(picture: str, pixels: Pixels, rounds: int, place: Path) -> Iterator[Row]:
    """Every format, the sides in turn."""
    tensor, (height, width) = tensor_of(pixels), pixels.shape[:2]
    folder = RunFolder(place / "ours", "benchmark")
    for name, options in PLAIN.items():
        task = task_of(name, width, height)
        files = [folder.root / f"images/{task.name}.{formats.FORMATS[name].suffix}"]
        sides: list[Callable[[], None]] = [partial(ours, tensor, task, folder)]
        if name != "jxl":
            files.append(place / f"plain-{name}.{formats.FORMATS[name].suffix}")
            sides.append(partial(plain, tensor, files[1], options))
        seconds = [[timed(side) for side in sides] for _ in range(rounds)]
        for file in files:
            compare(pixels, file, name)
        found = [statistics.median(column) for column in zip(*seconds, strict=True)]
        sizes = [file.stat().st_size / 1e6 for file in files]
        yield Row(
            table="format", picture=picture, case=name, seconds=found[0], mb=sizes[0],
            plain_seconds=found[1] if len(found) > 1 else None, plain_mb=sizes[1] if len(sizes) > 1 else None,
        )  # fmt: skip


def stage_rows(picture: str, pixels: Pixels, rounds: int, place: Path) -> Iterator[Row]:
    """Where the time of a PNG goes."""
    tensor, folder = tensor_of(pixels), RunFolder(place / "stages", "benchmark")
    task = task_of("png", pixels.shape[1], pixels.shape[0])
    data = encoders.encode(pixels, task)
    file = folder.save_image(task, pixels)
    stages: dict[str, Callable[[], Any]] = {
        "tensor to 8-bit pixels": lambda: to_uint8(tensor),
        "encode": lambda: encoders.encode(pixels, task),
        "thumbnail": lambda: encoders.thumbnail(pixels),
        "sha256": lambda: hashlib.sha256(data).hexdigest(),
        "write and sync": lambda: atomic.write(place / "stages" / "image.png", data),
        "receipt": lambda: commit(folder, task, file),
    }
    seconds = [[timed(stage) for stage in stages.values()] for _ in range(rounds)]
    for name, column in zip(stages, zip(*seconds, strict=True), strict=True):
        yield Row(table="stage", picture=picture, case=name, seconds=statistics.median(column))


# How long the device waits


@contextmanager
def prepared(pixels: Pixels) -> Iterator[list[float]]:
    """The stand-in session gives these pixels; yields when each device step ended."""
    ends: list[float] = []
    drawn = fake._picture

    def picture(latents: np.ndarray, width: int, height: int) -> Pixels:  # noqa: ARG001
        ends.append(time.perf_counter())
        return pixels.copy()  # the copy from the device

    fake._picture = picture
    try:
        yield ends
    finally:
        fake._picture = drawn


def period(ends: list[float]) -> float:
    """Seconds from one image to the next."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def our_run(case: Case, pixels: Pixels, place: Path) -> float:
    """Seconds an image of a run through planning, worker and saver."""
    manifest = place / "overlap.yaml"
    manifest.write_text(
        f"grid: {{model: {case.model}, prompt: a fox, seed: 0..{case.images - 1}, steps: 1, "
        f"size: {case.width}x{case.height}}}\noutput: {{{case.section}}}\nrun: {{min_free_disk: 1MB}}\n",
        encoding="utf-8",
    )
    with prepared(pixels) as ends, tempfile.TemporaryDirectory(dir=place) as out:
        options = Options(out=Path(out), engine="local", backend=FakeBackend((Fault("slow", seconds=case.step),)))
        result = runner.run(manifest, options, Silent(), Steering())
        if result.stopped or result.failed or len(ends) != case.images:
            raise SystemExit(f"{case.name}: the run did not end well: {result}")
        for file in RunFolder(Path(out)).image_files():
            compare(pixels, file, "png")
    return period(ends)


def plain_run(case: Case, pixels: Pixels, place: Path) -> float:
    """Seconds an image of the plain loop, whose device has scaled and clamped the tensor."""
    tensor, ends = tensor_of(pixels).mul_(0.5).add_(0.5).clamp_(0, 1), []
    for number in range(case.images):
        time.sleep(case.step)
        ends.append(time.perf_counter())
        plain(tensor, place / f"plain-{number % 2}.png", {}, scaled=True)
    compare(pixels, place / "plain-0.png", "png")
    return period(ends)


def overlap_row(case: Case, picture: str, rounds: int, place: Path) -> Row:
    pixels = TEXTURES[picture].draw(case.width, case.height)
    pairs = [(our_run(case, pixels, place), plain_run(case, pixels, place)) for _ in range(rounds)]
    seconds, plainly = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Row(
        table="overlap", picture=picture, case=case.name, seconds=seconds, plain_seconds=plainly,
        waits_percent=100 * (1 - case.step / seconds), plain_waits_percent=100 * (1 - case.step / plainly),
    )  # fmt: skip


# Together


def measure(rounds: int, *, quick: bool, place: Path) -> Iterator[Row]:
    size = (448, 320) if quick else (WIDTH, HEIGHT)
    for name, texture in TEXTURES.items():
        yield from format_rows(name, texture.draw(*size), rounds, place)
    yield from stage_rows("textured", TEXTURES["textured"].draw(*size), max(3, rounds), place)
    for case in QUICK if quick else CASES:
        yield overlap_row(case, "textured", rounds, place)


def how(rounds: int) -> str:
    """How the figures were taken."""
    versions = {name: version(name) for name in ("torch", "diffusers", "pillow", "zlib-ng", "numpy")}
    versions["imagecodecs"] = imagecodecs.__version__
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{rounds} rounds interleaved, medians; {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        f"{load}; Python {platform.python_version()}, {libraries}"
    )


TITLES = {
    "format": "From the decoded tensor to the committed file. 'plain' is diffusers' conversion and Pillow's save\n"
    "with its own defaults (JPEG: quality 75, 4:2:0; TIFF: not compressed; WebP: quality 80):",
    "stage": "The same, stage by stage:",
    "overlap": "A run whose device step is only waited for: an image's time, and the share the device waits:",
}


def show(rows: list[Row]) -> None:
    """One Markdown table each."""
    for table, title in TITLES.items():
        print(f"\n{title}")
        lines = [{**row.cells(), "ratio": ratio(row)} for row in rows if row.table == table]
        used = [key for key in lines[0] if key != "table" and any(line[key] for line in lines)]
        print(f"\n| {' | '.join(key.replace('_', ' ') for key in used)} |\n|{'---|' * len(used)}")
        for line in lines:
            print(f"| {' | '.join(line[key] for key in used)} |")


def ratio(row: Row) -> str:
    return f"{row.plain_seconds / row.seconds:.1f}" if row.plain_seconds else ""


def write(rows: list[Row], path: Path) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, [item.name for item in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.cells() for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, help="of each comparison (3, or 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="small pictures: whether it works, not what it takes")
    parser.add_argument("--csv", type=Path, help="where the tables are kept; docs/benchmarks, unless --quick")
    parser.add_argument(
        "--folder", type=Path, help="on the disk that is to be measured; the system's for temp files"
    )
    given = parser.parse_args(arguments)
    rounds = given.rounds or (1 if given.quick else 3)
    Image.MAX_IMAGE_PIXELS = None
    taken = how(rounds)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="output-path-") as place:
        os.environ["RUN_BATCH_CACHE"] = str(Path(place, "cache"))
        rows = list(measure(rounds, quick=given.quick, place=Path(place)))
    print(taken)
    if given.quick:
        print("--quick: whether it works; the times below mean nothing")
    show(rows)
    if given.csv or not given.quick:
        write(rows, given.csv or CSV)


if __name__ == "__main__":
    main()
