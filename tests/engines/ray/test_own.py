"""The Ray that a run starts for itself, and what is said where there is none to be had."""

import builtins
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from batch.base.errors import UserError
from batch.engines.ray.cluster import Cluster, without_devices
from batch.run.steering import Steering
from tests.engines.nights import FAKE_RUN, process_engine, until_an_image
from tests.engines.ray.conftest import MANY
from tests.helpers import hashes

pytest.importorskip("ray")
RUN = [*FAKE_RUN, "--engine", "ray", "--devices", "cpu"]


def test_a_run_that_is_killed_leaves_no_ray_and_the_next_one_goes_on(work, manifest):
    manifest(MANY)
    run = subprocess.Popen(RUN, env=process_engine(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_an_image(run, work / "run")
    mine = psutil.Process(run.pid).children(recursive=True)
    (raylet,) = [process for process in mine if process.name() == "raylet"]
    (folder,) = {Path("/tmp", found) for found in re.findall(r"rb-ray-\w+", " ".join(raylet.cmdline()))}
    assert folder.is_dir()
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    _, alive = psutil.wait_procs(mine, timeout=60)
    assert not alive
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder.exists()
    kept = hashes("run")
    done = subprocess.run(RUN, env=process_engine(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gcs" not in done.stderr
    assert kept.items() <= hashes("run").items()
    assert len(hashes("run")) == 20


def test_without_the_extra_the_command_that_installs_it_is_told(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r'-m pip install "run-batch\[ray\]"'):
        Cluster().open("", Steering())


@pytest.mark.parametrize(
    ("address", "said"),
    [("127.0.0.1:1", "nothing answers"), ("ray://nowhere", "write auto"), ("x", "write auto")],
)
def test_an_address_where_there_is_no_cluster(address, said):
    with pytest.raises(UserError, match=said):
        Cluster().open(address, Steering())


def test_a_cluster_without_a_gpu_says_what_it_has():
    error = without_devices("GPU", "no GPU and 8 CPUs on 2 nodes", own=False)
    assert "no GPU and 8 CPUs on 2 nodes. Render on its CPUs with --devices cpu" in str(error)
