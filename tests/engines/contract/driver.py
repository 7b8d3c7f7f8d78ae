"""A run of the contract as a program of its own, to be killed: ``python -m tests.engines.contract.driver FILE``.

The file is a pickle of the manifest's path and its :class:`~batch.run.options.Options`.
"""

import pickle
import sys
from pathlib import Path

from batch.run import runner
from batch.run.steering import Steering
from tests.engines.contract.contract import Watch

if __name__ == "__main__":
    path, options = pickle.loads(Path(sys.argv[1]).read_bytes())
    ended = runner.run(path, options, Watch(), Steering())
    sys.exit(ended.exit_code)
