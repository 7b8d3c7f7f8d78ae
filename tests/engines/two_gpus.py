"""The one Ray of all tests of this process."""

import logging
import os
from contextlib import contextmanager

from batch.engines.ray.cluster import QUIET

STORE = 80 * 2**20


@contextmanager
def quiet_ray():
    """Two logical GPUs on one node, with nothing of it on the terminal: where it is to be joined."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        ray.init(
            address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=STORE,
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
