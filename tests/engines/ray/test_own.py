"""The Ray that a run starts for itself, and what is said where there is none to be had."""

import builtins
import contextlib
import importlib.util
import os
import re
import secrets
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
from batch.engines.ray.cluster import QUIET, Cluster, _hushed, without_devices
from batch.engines.ray.engine import RayEngine
from batch.run.steering import Steering
from tests.conftest import SMALL
from tests.engines.nights import FAKE_RUN, process_engine, until_an_image
from tests.engines.ray.conftest import MANY
from tests.engines.two_gpus import STORE
from tests.fake_session import FakeBackend
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
    port = a_free_port()
    with cluster(port, "--port=0", f"--ray-client-server-port={port}"):
        command = [*RUN, "--ray-address", f"ray://127.0.0.1:{port}"]
        done = subprocess.run(command, env=process_engine(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(hashes("run")) == 20
    assert ", on " in done.stderr + done.stdout  # a host has a name: none of them is this machine


@pytest.mark.cluster
def test_sigterm_in_a_cluster_that_asks_for_a_token_finishes_the_image(work, manifest, tmp_path):
    """Ray's own handler would abort the run three seconds after the signal."""
    manifest(MANY)
    (work / "memo").mkdir()
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    env = {name: value for name, value in process_engine().items() if not name.startswith("RAY_AUTH")}
    env |= {"HOME": str(tmp_path / "home"), "FAKE_SLOW": "denoise:6"}
    port = a_free_port()
    with cluster(port, f"--port={port}", env=env):
        command = [*RUN, "--ray-address", f"127.0.0.1:{port}"]
        run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + 60
        while not list((work / "memo").iterdir()) and time.monotonic() < deadline:
            assert run.poll() is None, run.communicate()
            time.sleep(0.02)
        asked = time.monotonic()
        run.terminate()
        said = run.communicate()[0]
    assert run.returncode == 130, said
    assert "SIGTERM received" not in said
    assert "run the same command again to go on" in said
    assert time.monotonic() - asked > 4  # which the image takes


def a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextlib.contextmanager
def cluster(port, *how, env=os.environ):
    """Of one node with two CPUs, which listens at that port."""
    place = tempfile.mkdtemp(prefix="rb-head-")
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *how]
    start += ["--num-cpus=2", "--include-dashboard=false", f"--object-store-memory={STORE}", f"--temp-dir={place}"]
    head = subprocess.Popen(
        start, env={**env, **QUIET}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until_it_listens(port, head)
        yield
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


def test_the_address_of_the_job_server_is_told_from_that_of_a_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=http://127.0.0.1:8265 is where `ray job submit` sends jobs"):
        Cluster().open("auto", Steering())


def test_a_run_folder_in_rays_copy_of_a_working_dir_is_refused():
    state = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1a2b/outputs/night/.run")
    with pytest.raises(UserError, match="--out /path/to/night"):
        RayEngine(state, FakeBackend()).start(None, Steering(), most=1)


def test_a_run_that_cannot_reach_its_cluster_leaves_nothing(cli, manifest, work):
    ended = cli("run", manifest(SMALL), "--engine", "ray", "--ray-address", "127.0.0.1:1", "--out", "run")
    assert ended.code == 2
    assert "nothing answers at --ray-address 127.0.0.1:1" in ended.err
    assert not (work / "run").exists()


def test_ray_prints_nothing_of_its_nodes(capsys):
    from ray._private import worker

    said = {"lines": ["The node has been marked dead"], "pid": "raylet", "is_err": False}
    with _hushed():
        worker.print_to_stdstream(said, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    worker.print_to_stdstream(said, ignore_prefix=False)
    assert "marked dead" in capsys.readouterr().out


def test_a_cluster_without_a_gpu_says_what_it_has():
    error = without_devices("GPU", "no GPU and 8 CPUs on 2 nodes", own=False)
    assert "no GPU and 8 CPUs on 2 nodes. Render on its CPUs with --devices cpu" in str(error)
