"""Kills the workers of one run every few images, and looks at what is left in the end.

    python benchmarks/worker_deaths.py                 200 images through two workers: minutes
    python benchmarks/worker_deaths.py --engine ray --images 20

Each worker is ended with SIGKILL within thirty milliseconds of an image that it begins, its second to fifth:
while it renders, saves, or writes a receipt. The run goes on through all of it. Prints one line and exits with 1
where an image is not there exactly once, verified, with the bytes of an undisturbed run.
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

from tests.engines.contract.contract import Contract, Ended, job
from tests.engines.contract.promises import KINDS, Kind
from tests.helpers import hashes
from tools.extras import extra


def problems(contract: Contract, ended: Ended, text: str, images: int) -> Iterator[str]:
    """Whatever is not as it should be."""
    try:
        ended.assert_all_done(images)
    except AssertionError as error:
        yield f"not each image once: {error}"
    if hashes(contract.root) != contract.undisturbed(text):
        yield "bytes differ from an undisturbed run"


@contextmanager
def with_two_devices(kind: Kind) -> Iterator[None]:
    """A Ray on this machine with two GPUs that are none; other engines need nothing."""
    if kind.engine != "ray":
        yield
        return
    with extra("ray"):
        import ray

    ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=[kind.name for kind in KINDS if kind.name != "local"], default="two")
    parser.add_argument("--images", type=int, default=200, help="an even number")
    arguments = parser.parse_args()
    (kind,) = (kind for kind in KINDS if kind.name == arguments.engine)
    if kind.absent:
        print(f"{kind.name}: left out: {kind.absent}")
        return 0
    # An image may be on the way when one worker after the other dies.
    text = job(f"0..{arguments.images // 2 - 1}", retries=100)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="worker-deaths-") as place:
        os.environ["RUN_BATCH_CACHE"] = str(Path(place, "cache"))
        contract = Contract(kind, Path(place), Path(place), hangs_s=3600.0)
        with with_two_devices(kind):
            ended = contract.run(text=text, backend=contract.backend(dies_after=5))
        found = list(problems(contract, ended, text, arguments.images))
        rendered = sum(contract.ledger.times("denoise").values())
    deaths = ended.watch.count("worker-died")
    said = "; ".join(found) or "one verified file for each, and the bytes of an undisturbed run"
    print(
        f"{kind.name}: {arguments.images} images, {deaths} workers killed, {rendered} times an image was begun, "
        f"{time.monotonic() - start:.0f} s: {said}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
