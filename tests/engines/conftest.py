"""Runs with faults, through the stand-in session."""

import time
from pathlib import Path

import pytest

from tests.engines.nights import JOB, Night
from tests.engines.two_gpus import quiet_ray
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run


@pytest.fixture(scope="session")
def two_gpus():
    """The address of a Ray on this machine with two GPUs that are none; runs of this process are in it."""
    with quiet_ray() as address:
        yield address


@pytest.fixture
def night(manifest, work, tmp_path):
    """Run the job with faults; each fault that is counted remembers its strikes in a folder."""
    (tmp_path / "memo").mkdir(exist_ok=True)

    def run(*faults: Fault, text=JOB, out="run", engine="local", stop=None, **options) -> Night:
        seen, start = Seen(), time.monotonic()
        result = fake_run(manifest(text), *faults, seen=seen, stop=stop, out=Path(out), engine=engine, **options)
        return Night(result, seen, time.monotonic() - start)

    return run


@pytest.fixture
def once(tmp_path):
    """A fault that strikes so often in all."""

    def fault(kind, stage="denoise", times=1, **more) -> Fault:
        return Fault(kind, stage, times=times, memo=str(tmp_path / "memo"), **more)

    return fault
