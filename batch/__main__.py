"""``python -m batch``: the same program as ``run-batch`` and ``run_batch.py``."""

import sys

try:
    from batch.cli.main import main
except KeyboardInterrupt:  # before anything could be interrupted
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
