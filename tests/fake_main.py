"""The command line with the stand-in session, as a program of its own: ``python -m tests.fake_main run job.yaml``.

For tests of what lies around rendering: its worker starts without torch, eight times as fast.
"""

import sys
from functools import partial

from batch.cli.main import main
from batch.run import options
from tests.fake_session import FakeBackend, Fault

if __name__ == "__main__":
    # Slow enough that what happens on the way happens on the way.
    slow = FakeBackend((Fault("slow", seconds=0.1),))
    options.Options = partial(options.Options, backend=slow)
    sys.exit(main())
