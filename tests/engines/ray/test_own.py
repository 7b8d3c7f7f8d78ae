"""The Ray that a run starts for itself, and what is said where there is none to be had."""

import builtins
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from batch.base.errors import UserError
from batch.engines.ray.cluster import QUIET, Cluster, without_devices
from batch.run.steering import Steering
from tests.engines.nights import FAKE_RUN, process_engine, until_an_image
from tests.engines.ray.conftest import MANY
from tests.engines.two_gpus import STORE
from tests.helpers import hashes

ray = pytest.importorskip("ray")
RUN = [*FAKE_RUN, "--engine", "ray", "--devices", "cpu"]


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """This process may be in the Ray of other tests."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


@pytest.mark.cluster
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


def test_without_rays_client_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "grpc" else 1 / 0)
    with (
        socket.create_server(("127.0.0.1", 0)) as there,
        pytest.raises(UserError, match=r'-m pip install "ray\[client\]"'),
    ):
        Cluster().open(f"ray://127.0.0.1:{there.getsockname()[1]}", Steering())


@pytest.mark.cluster
@pytest.mark.skipif(not importlib.util.find_spec("grpc"), reason="Ray's client is not installed")
def test_a_cluster_that_this_machine_does_not_belong_to(work, manifest, tmp_path):
    """The run's own process is outside, and knows of no node that is here."""
    manifest(MANY)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = tempfile.mkdtemp(prefix="rb-head-")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0"]
    start += [f"--ray-client-server-port={port}", "--num-cpus=2", "--include-dashboard=false"]
    start += [f"--object-store-memory={STORE}", f"--temp-dir={place}"]
    env = {**os.environ, **QUIET}
    head = subprocess.Popen(
        start, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until_it_listens(port, head)
        command = [*RUN, "--ray-address", f"ray://127.0.0.1:{port}"]
        done = subprocess.run(command, env=process_engine(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(hashes("run")) == 20
        assert ", on " in done.stderr + done.stdout  # a host has a name: none of them is this machine
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(place, ignore_errors=True)


def until_it_listens(port, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise AssertionError("it never listened")


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
