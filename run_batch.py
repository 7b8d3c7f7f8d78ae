"""Start the batch renderer: ``python run_batch.py jobs/quickstart.yaml``."""

import sys

try:
    from batch.cli.main import main
except KeyboardInterrupt:  # before anything could be interrupted
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
