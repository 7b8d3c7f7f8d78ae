"""``python -m batch``: the same program as ``run-batch`` and ``run_batch.py``."""

import sys

from batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
