"""How much faster two workers are than one, with everything around them: the plan, the pipes, the disk, the page.

    python benchmarks/two_workers.py [--engine process|ray] [--images N] [--seconds S]

The workers are the engine's own, on two logical devices; the session in them stands still for ``--seconds`` in
place of rendering, so that two of them on a machine of two cores are as free of each other as two cards are.
Throughput is that of a whole run from its first image that was begun to its last that was saved, so that a worker
that waits at the end counts. Prints both and the ratio, and exits with 1 where that is below 1.9.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
# `demo` is that of the tests, next to nothing: what is measured is the program around it.
os.environ.setdefault("RUN_BATCH_SHIPPED", str(Path(__file__).parent.parent / "tests" / "models"))

ENOUGH = 1.9

JOB = """\
name: two-workers
grid: {{model: demo, prompt: [a fox, a whale], seed: 0..{last}, steps: 2, size: 64x64}}
resize: true
run: {{min_free_disk: 1MB}}
"""


class Watch:
    """Notes when the first image is begun and the last one saved."""

    def __init__(self) -> None:
        self.begun = self.ended = 0.0
        self.images = 0

    def on(self, event: object) -> None:
        """See :class:`~batch.records.events.Listener`."""
        from batch.records.events import Beat
        from batch.records.kinds import Stage
        from batch.records.receipts import Outcome

        if isinstance(event, Beat) and event.stage == Stage.DENOISE and not self.begun:
            self.begun = time.monotonic()
        if isinstance(event, Outcome):
            self.images += 1
            self.ended = time.monotonic()


def images_a_second(engine: str, devices: str | None, images: int, seconds: float) -> float:
    """Of one run in a folder of its own."""
    from batch.run import runner
    from batch.run.options import Options
    from batch.run.steering import Steering
    from tests.fake_session import FakeBackend, Fault

    with tempfile.TemporaryDirectory(prefix="two-workers-") as place:
        os.environ["RUN_BATCH_CACHE"] = str(Path(place, "cache"))
        path = Path(place, "job.yaml")
        path.write_text(JOB.format(last=images // 2 - 1), encoding="utf-8")
        watch = Watch()
        backend = FakeBackend((Fault("slow", seconds=seconds),))
        options = Options(out=Path(place, "out"), engine=engine, devices=devices, backend=backend)
        result = runner.run(path, options, watch, Steering())
    if result.rendered != images:
        raise SystemExit(f"{result.rendered} of {images} images were rendered: {result.stopped}")
    return watch.images / (watch.ended - watch.begun)


@contextmanager
def with_two_cpus(engine: str) -> Iterator[str]:
    """What ``--devices`` is to be for two workers; for Ray in a cluster that offers as many CPUs."""
    if engine != "ray":
        yield "cpu,cpu"
        return
    from tools.extras import extra

    with extra("ray"):
        import ray

    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    try:
        yield "cpu"
    finally:
        ray.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=["process", "ray"], default="process")
    parser.add_argument("--images", type=int, default=60, help="an even number")
    parser.add_argument("--seconds", type=float, default=0.5, help="that an image takes at least")
    arguments = parser.parse_args()
    one = images_a_second("process", "cpu", arguments.images, arguments.seconds)
    with with_two_cpus(arguments.engine) as devices:
        two = images_a_second(arguments.engine, devices, arguments.images, arguments.seconds)
    print("| workers | images a second |\n|---|---|")
    print(f"| process, one | {one:.2f} |\n| {arguments.engine}, two | {two:.2f} |")
    print(f"\n{two / one:.2f} times as many")
    return 0 if two / one >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
