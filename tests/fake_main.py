"""The command line with the stand-in session, as a program of its own: ``python -m tests.fake_main run job.yaml``.

For tests of what lies around rendering: its worker starts without torch, eight times as fast. ``FAKE_FAULT`` names
what goes wrong with the second seed, ``FAKE_UNDYING`` has the worker outlive its parent while it is stopped.
``FAKE_SLOW=denoise:1.5:3`` makes that stage of seed 3 slow, once: the folder ``memo`` holds a file from then on.
Without a seed it strikes the first time; the stage may also be ``report``.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

from batch.cli.main import main
from batch.report import write
from batch.run import options
from tests.fake_session import FakeBackend, Fault


def slow_report(seconds, written, *of):
    Path("memo/report").touch()
    time.sleep(seconds)
    return written(*of)


if __name__ == "__main__":
    # Slow enough that what happens on the way happens on the way.
    faults = [Fault("slow", seconds=0.1)]
    if kind := os.environ.get("FAKE_FAULT"):
        faults.append(Fault(kind, seed=1))
    if slow := os.environ.get("FAKE_SLOW"):
        stage, seconds, *seeds = slow.split(":")
        if stage == "report":
            write.write_report = partial(slow_report, float(seconds), write.write_report)
        else:
            seed = int(seeds[0]) if seeds else None
            faults.append(
                Fault("slow", stage, seed=seed, seconds=float(seconds), times=1, memo=str(Path("memo").absolute()))
            )
    backend = FakeBackend(tuple(faults), undying="FAKE_UNDYING" in os.environ)
    options.Options = partial(options.Options, backend=backend)
    sys.exit(main())
