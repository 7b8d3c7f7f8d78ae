"""What a run costs beside rendering, at 1,000, 10,000 and 100,000 tasks, and whether that grows.

    python benchmarks/scale.py [TASKS…] [--filled FROM]

Every figure is of the program itself, with its supervised worker; the worker draws pictures of 64x64 pixels
(``tests.fake_session``) instead of rendering them. Per number of tasks: a first run stops 500 images before the
end (``--max-images``); the folder is planned and scanned; a second run resumes and does the rest. Each is a
process of its own. With ``--filled FROM``, of so many tasks or more the first run does 500 images only, and all
but the last 500 of the others are put into the folder as receipts with empty images: minutes instead of an hour
for 100,000 tasks, and the memory at the end is that after 500 images.

What an image takes is the wall time from outcome to outcome, of blocks of 20, their median over the first and the
last 500: drawing (0.3 ms), encoding, thumbnail, receipt, both processes and all syncs. Beside it stands what the
bare syncs take on this disk: two files of 4 KiB, each written, synced, renamed, its folder synced; measured before
and after each run. Prints a table and writes docs/benchmarks/scale.csv.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))


CSV = Path(__file__).parent.parent / "docs" / "benchmarks" / "scale.csv"
EDGE, BLOCK, WARM = 500, 20, 20
"""Images at either end, in a block, and before memory and processor time are looked at first."""

JOB = """\
name: scale
grid: {model: demo, prompt: {file: prompts.txt}, seed: 0..7, steps: 1, size: 64x64}
resize: true
run: {min_free_disk: 1MB}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Figures of one number of tasks: seconds, milliseconds an image, MiB."""

    tasks: int
    rendered: int
    """By the runs; the rest was put into the folder."""
    plan_s: float
    scan_s: float
    first_image_s: float
    """Of the resumed run, from the start of its process."""
    first_ms: float
    last_ms: float
    syncs_ms: float
    overhead_ms: float
    """The larger of both ends, less the bare syncs."""
    cpu_ms: float
    """Processor time of parent and worker, threads included, over all of the first run."""
    parent_start_mib: float
    parent_end_mib: float
    worker_start_mib: float
    worker_end_mib: float
    report_s: float


class Usage(NamedTuple):
    """At one moment."""

    parent_mib: float
    worker_mib: float
    cpu_s: float
    """Of both since they began."""


def measure(tasks: int, place: Path, *, edge: int = EDGE, filled: bool = False) -> Row:
    """Both runs, what lies between them, and the syncs of this disk. ``tasks`` is a multiple of 8."""
    write_job(place, tasks)
    syncs = [bare_syncs(place)]
    first = _child(place, "run", edge if filled else tasks - edge)
    syncs.append(bare_syncs(place))
    if filled:
        fill(place, edge)
    looked = _child(place, "look")
    syncs.append(bare_syncs(place))
    second = _child(place, "run", tasks)
    syncs.append(bare_syncs(place))
    rendered = first["images"] + second["images"]
    if rendered != (2 * edge if filled else tasks):
        raise SystemExit(f"{rendered} images were rendered: {first['stopped']}; {second['stopped']}")
    ends = block_ms(first["times"][: edge + 1]), block_ms(second["times"][-edge:])
    bare = statistics.median(syncs)
    return Row(
        tasks=tasks, rendered=rendered, plan_s=looked["plan_s"], scan_s=looked["scan_s"],
        first_image_s=second["first_image_s"], first_ms=ends[0], last_ms=ends[1], syncs_ms=bare,
        overhead_ms=max(ends) - bare, cpu_ms=first["cpu_ms"],
        parent_start_mib=first["start_mib"][0], parent_end_mib=first["end_mib"][0],
        worker_start_mib=first["start_mib"][1], worker_end_mib=first["end_mib"][1],
        report_s=second["report_s"],
    )  # fmt: skip


def write_job(place: Path, tasks: int) -> None:
    prompts = (f"a photo of thing number {number} on a table, soft light, 35mm" for number in range(tasks // 8))
    (place / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
    (place / "scale.yaml").write_text(JOB, encoding="utf-8")


def bare_syncs(place: Path, rounds: int = 100) -> float:
    """Milliseconds that a commit's syncs take by themselves."""
    data, seconds = os.urandom(4096), []
    with tempfile.TemporaryDirectory(dir=place) as folder:
        for number in range(rounds):
            start = time.perf_counter()
            for kind in ("image", "receipt"):
                _write_synced(Path(folder), f"{kind}-{number}", data)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


def _write_synced(folder: Path, name: str, data: bytes) -> None:
    part = folder / f".{name}"
    with part.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / name)
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def block_ms(times: list[float]) -> float:
    """Outcomes may come in twos: blocks even that out."""
    blocks = [later - earlier for earlier, later in zip(times[::BLOCK], times[BLOCK::BLOCK], strict=False)]
    return statistics.median(blocks) / BLOCK * 1e3


def fill(place: Path, edge: int) -> None:
    """Receipts and empty images for all but the last tasks; plainly written, without syncs."""
    from batch.records.reading import to_json
    from batch.run.options import Options
    from batch.run.prepare import prepare
    from batch.store.pictures import image_path

    job = prepare(place / "scale.yaml", Options(out=place / "out"))
    plan, folder = job.plan, job.folder
    done = folder.scan().receipts
    model = next(iter(done.values()))
    for task in plan.tasks[:-edge]:
        if task.id in done:
            continue
        image = folder.root / image_path(task)
        image.touch()
        file = replace(model.file, path=image_path(task), bytes=0, mtime=image.stat().st_mtime)
        path = folder.receipt_path(task.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(to_json(replace(model, task=task, file=file)), ensure_ascii=False, indent=1)
        path.write_text(text, encoding="utf-8")


def _child(place: Path, what: str, images: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, str(images)],
        cwd=place, env={**os.environ, "RUN_BATCH_CACHE": str(place / "cache")}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def look() -> dict[str, float]:

    from batch.run.options import Options
    from batch.run.prepare import prepare

    start = time.perf_counter()
    folder = prepare(Path("scale.yaml"), Options(out=Path("out"))).folder
    planned = time.perf_counter()
    folder.scan()
    return {"plan_s": planned - start, "scan_s": time.perf_counter() - planned}


class Watch:
    """Notes when each image is done, and memory and processor time near the first and at the last one."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.times: list[float] = []
        self.usage: list[Usage] = []

    def on(self, event: object) -> None:
        """See :class:`~batch.records.events.Listener`."""
        from batch.records.events import Began
        from batch.records.receipts import Outcome

        if isinstance(event, Began):
            self.images = min(self.images, event.to_render)
        elif isinstance(event, Outcome):
            self.times.append(time.time())
            if len(self.times) in (WARM, self.images):
                self.usage.append(usage())


def run(images: int) -> dict[str, Any]:
    """One run of at most so many images, as the command line starts it."""
    from batch.run import limits, runner
    from batch.run.options import Options
    from batch.run.steering import Steering
    from tests.fake_session import FakeBackend

    watch = Watch(images)
    options = Options(
        out=Path("out"), engine="process", backend=FakeBackend(), limits=limits.Limits(max_images=images)
    )
    result = runner.run(Path("scale.yaml"), options, watch, Steering())
    start, end = watch.usage
    return {
        "images": result.rendered,
        "stopped": str(result.stopped or ""),
        "times": watch.times,
        "first_image_s": watch.times[0] - psutil.Process().create_time(),
        "report_s": time.time() - watch.times[-1],
        "cpu_ms": (end.cpu_s - start.cpu_s) / (len(watch.times) - WARM) * 1e3,
        "start_mib": (start.parent_mib, start.worker_mib),
        "end_mib": (end.parent_mib, end.worker_mib),
    }


def usage() -> Usage:
    parent = psutil.Process()
    worker = max(parent.children(), key=lambda child: child.memory_info().rss)  # beside multiprocessing's tracker
    times = [process.cpu_times() for process in (parent, worker)]
    return Usage(
        parent.memory_info().rss / 2**20,
        worker.memory_info().rss / 2**20,
        sum(item.user + item.system for item in times),
    )


def write_csv(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _shown(value) for name, value in asdict(row).items()} for row in rows)


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "tasks", type=int, nargs="*", default=[1_000, 10_000],
        help=f"above {EDGE}, multiples of 8; default: 1000 10000",
    )  # fmt: skip
    parser.add_argument(
        "--filled", type=int, default=sys.maxsize, metavar="FROM",
        help="of so many tasks or more render the ends only, and put the others into the folder",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, default=CSV)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        what, images = arguments.child
        json.dump(look() if what == "look" else run(int(images)), sys.stdout)
        return
    if any(tasks <= EDGE or tasks % 8 for tasks in arguments.tasks):
        parser.error(f"a number of tasks is above {EDGE} and a multiple of 8 (eight seeds a prompt)")
    rows = []
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}{load}\n")
    names = list(Row.__dataclass_fields__)
    print("|", " | ".join(names), "|\n|" + "---|" * len(names), flush=True)
    for tasks in arguments.tasks:
        with tempfile.TemporaryDirectory(prefix="scale-") as place:
            rows.append(measure(tasks, Path(place), filled=tasks >= arguments.filled))
        print("|", " | ".join(map(_shown, asdict(rows[-1]).values())), "|", flush=True)
        write_csv(rows, arguments.csv)


if __name__ == "__main__":
    main()
