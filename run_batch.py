"""Start the batch renderer: ``python run_batch.py jobs/quickstart.yaml``."""

import sys

from batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
