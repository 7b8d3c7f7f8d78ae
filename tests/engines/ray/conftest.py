"""A Ray for the tests of a module: two logical GPUs on one node, and how to run on it."""

import logging
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch.engines.ray.cluster import QUIET
from tests.engines.nights import JOB, Night
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run

ray = pytest.importorskip("ray")
STORE = 80 * 2**20


@contextmanager
def quiet_ray():
    """No trace of the last test's, and nothing of it on the terminal."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="module")
def local_ray():
    """One node with two GPUs that are none."""
    with quiet_ray():
        ray.init(
            address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=STORE,
        )  # fmt: skip
        yield ray


@pytest.fixture
def ray_night(manifest, work, tmp_path):
    """A run with faults on the Ray that is there."""
    (tmp_path / "memo").mkdir(exist_ok=True)

    def run(*faults: Fault, text=JOB, out="run", stop=None, seen=None, **options) -> Night:
        heard = seen or Seen()
        result = fake_run(manifest(text), *faults, seen=heard, stop=stop, out=Path(out), engine="ray", **options)
        return Night(result, heard, result.seconds)

    return run
