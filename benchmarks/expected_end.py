"""When a run says that it will end, over the run, against the truth: as it is judged now and as it was before.

    python benchmarks/expected_end.py [--seeds N] [--csv FILE]

A real run, worker process and all, of a stand-in that takes known times: two models, three sizes, two numbers of
steps, with guidance and without, one size under a setting that offloads, texts to encode, and a model to load on
the way. It runs twice: where nothing is known, and where earlier runs are (eight images of other sizes and steps).
"before" is what was shown until now: the median of the last twenty images, times those that are left.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import platform
import statistics
import sys
import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

sys.path.insert(0, str(Path(__file__).parent.parent))

from batch.base import hardware
from batch.plan.rates import learn
from batch.records.events import Began, Encoded, Event, Expected, Loading
from batch.records.receipts import Machine, Outcome
from batch.run import runner
from batch.run.options import Options
from batch.run.steering import Steering
from batch.store import history
from batch.store.folder import RunFolder
from tests.fake_session import FakeBackend
from tests.known_times import Times

SMALL, LARGE = "random:sd-1.5", "random:sdxl"
TIMES = Times(
    step=0.3, decode=0.4, text=0.04, load=2.0, first=0.0, between=0.0, models={LARGE: 1.8}, moved=2.0
)  # fmt: skip
COLUMNS = ("earlier", "done", "left_s", "now_s", "now_error", "before_s", "before_error", "source")


@dataclass
class Watch:
    """Hears what is expected, and judges as it was done before."""

    rows: list[tuple[int, float, float | None, float | None, str]] = field(default_factory=list)
    """Images done, when, seconds expected now and before, source."""
    _total: int = 0
    _done: int = 0
    _last: float = 0.0
    _each: deque[float] = field(default_factory=lambda: deque(maxlen=20))

    def on(self, event: Event) -> None:
        """The old rule is that of a plain line per image."""
        now = monotonic()
        match event:
            case Began():
                self._total, self._last = event.to_render, now
            case Loading() | Encoded():
                self._last = now
            case Outcome():
                taken = now - self._last
                if self._done == 0 and event.receipt is not None:
                    taken = min(taken, event.receipt.measurement.total_s)
                self._each.append(taken)
                self._done, self._last = self._done + 1, now
            case Expected() if not self.rows or self.rows[-1][0] != self._done:
                before = statistics.median(self._each) * (self._total - self._done) if self._each else None
                self.rows.append((self._done, now, event.seconds, before, event.source))


def job(path: Path, sizes: tuple[int, ...], steps: tuple[int, ...], seeds: int) -> Path:
    """A table of every combination; the largest size is offloaded, and in earlier runs another one too."""
    rows = ["model,prompt,size,steps,guidance,memory,seed"]
    for model in (SMALL, LARGE):
        for size in sizes:
            memory = "model_cpu_offload" if size in (512, 448) else "full"
            for count in steps:
                for guidance in (4.5, 1.0):
                    for seed in range(seeds):
                        prompt = f"a lighthouse {seed}"
                        rows.append(f"{model},{prompt},{size}x{size},{count},{guidance},{memory},{seed}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def rendered(manifest: Path, out: Path) -> tuple[Watch, float]:
    """One run, and when it ended."""
    watch = Watch()
    machine = Machine(device=hardware.look("cpu").device, host=platform.node())
    options = Options(out=out, backend=FakeBackend(times=TIMES, machine=machine), devices="cpu")
    runner.run(manifest, options, watch, Steering())
    return watch, watch.rows[-1][1]


def table(earlier: str, watch: Watch, end: float) -> list[tuple[object, ...]]:
    """A line for each image after which something was expected."""
    lines: list[tuple[object, ...]] = []
    for done, at, now, before, source in watch.rows:
        left = end - at
        if left < 1:
            continue
        errors = [None if value is None else round(value / left - 1, 3) for value in (now, before)]
        now_s, before_s = (None if value is None else round(value, 1) for value in (now, before))
        lines.append((earlier, done, round(left, 1), now_s, errors[0], before_s, errors[1], source))
    return lines


def main() -> None:
    """Run both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="images of each of the 24 settings")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["RUN_BATCH_CACHE"] = str(work / "cache")
        lines: list[tuple[object, ...]] = []
        big = job(work / "night.csv", (512, 384, 256), (8, 4), options.seeds)
        lines += table("none", *rendered(big, work / "without"))
        (work / "cache").rename(work / "cache of the first")
        small = job(work / "earlier.csv", (448, 320), (6,), 1)
        rendered(small, work / "earlier")
        history.record(learn(RunFolder(work / "earlier").scan().receipts.values()))
        lines += table("8 images", *rendered(big, work / "with"))
    for line in (COLUMNS, *lines):
        print("  ".join(f"{'' if value is None else value!s:>9}" for value in line))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *lines])


if __name__ == "__main__":
    main()
