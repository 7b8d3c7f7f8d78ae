"""The command line with the stand-in session, as a program of its own: ``python -m tests.fake_main run job.yaml``.

For tests of what lies around rendering: its worker starts without torch, eight times as fast. ``FAKE_FAULT`` names
what goes wrong with the second seed, ``FAKE_UNDYING`` has the worker outlive its parent while it is stopped.
"""

import os
import sys
from functools import partial

from batch.cli.main import main
from batch.run import options
from tests.fake_session import FakeBackend, Fault

if __name__ == "__main__":
    # Slow enough that what happens on the way happens on the way.
    faults = [Fault("slow", seconds=0.1)]
    if kind := os.environ.get("FAKE_FAULT"):
        faults.append(Fault(kind, seed=1))
    backend = FakeBackend(tuple(faults), undying="FAKE_UNDYING" in os.environ)
    options.Options = partial(options.Options, backend=backend)
    sys.exit(main())
