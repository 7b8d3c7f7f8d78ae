"""A Ray for the tests of a module: two logical GPUs on one node, and how to run on it."""

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from batch.engines.ray.cluster import QUIET
from tests.engines.nights import Night
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run

ray = pytest.importorskip("ray")
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

STORE = 80 * 2**20

SMALL = """\
name: night
grid: {model: demo, prompt: [a, b], seed: 0..2, steps: 2, size: 512x512}
run: {min_free_disk: 1MB}
output: {format: webp}
"""
MANY = SMALL.replace("seed: 0..2", "seed: 0..9")


class Everything(Seen):
    """All that a run told."""

    def __init__(self):
        super().__init__()
        self.events = []

    def on(self, event):
        super().on(event)
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def texts(self, kind):
        return [item.text for item in self.happenings if item.kind == kind]


def can_mount() -> bool:
    try:
        command = ["unshare", "-m", "-u", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def left_behind():
    """Folders of hosts that are gone; others may be at work on this machine."""
    found = {folder: folder.name.split("-")[2] for folder in Path(tempfile.gettempdir()).glob("run_batch-ray-*")}
    return {folder for folder, pid in found.items() if not psutil.pid_exists(int(pid))}


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


@pytest.fixture(scope="module")
def head():
    """A cluster whose first node has one GPU, and where it is to be joined."""
    with quiet_ray():
        ray.init(
            address="local", num_cpus=1, num_gpus=1, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=STORE,
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address


class OtherNode:
    """Another machine, as far as Ray can tell."""

    def __init__(self, address, gpus=1, before=""):
        """``before`` is done where file systems and the host's name are its own, as root."""
        start = [str(Path(sys.executable).with_name("ray")), "start", f"--address={address}", "--block"]
        start += [f"--num-gpus={gpus}", "--num-cpus=1", f"--object-store-memory={STORE}", "--disable-usage-stats"]
        if before:
            start = ["unshare", "-m", "-u", "sh", "-c", f"{before} && exec {shlex.join(start)}"]
        known = set(self.nodes())
        self.process = subprocess.Popen(
            start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 90
        while not (new := set(self.nodes()) - known):
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        (self.id,) = new

    @staticmethod
    def nodes():
        return [node["NodeID"] for node in ray.nodes() if node["Alive"]]

    def leave(self):
        """As a machine that is shut down."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if child.name() == "raylet":
                child.terminate()
                return
        raise AssertionError("there is no raylet")

    def preempt(self):
        """As a spot machine: the provider says that it will be gone, and then it is."""
        client = ray._private.worker.global_worker.gcs_client
        deadline = time.time() + 0.5
        reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        accepted, why = client.drain_node(self.id, reason, "spot", int(deadline * 1000))
        assert accepted, why
        time.sleep(max(0.0, deadline - time.time()) + 0.1)  # gone before, it has left by itself
        os.killpg(self.process.pid, signal.SIGKILL)

    def close(self):
        with contextlib.suppress(AssertionError, psutil.Error):
            self.leave()  # a node that is killed is missed after a quarter of a minute only
        deadline = time.monotonic() + 60
        while self.id in self.nodes() and time.monotonic() < deadline:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def other_node(head):
    """Start another machine; it is gone at the end."""
    with contextlib.ExitStack() as stack:

        def start(**how) -> OtherNode:
            node = OtherNode(head, **how)
            stack.callback(node.close)
            return node

        yield start


@pytest.fixture
def hidden(tmp_path, cache):
    """What hides the folders of a test, and the cache, from another node."""
    return " && ".join(f"mount -t tmpfs tmpfs {shlex.quote(str(folder))}" for folder in (tmp_path, cache))


class Nothing:
    """Takes a device."""

    def here(self):
        return True


@pytest.fixture
def first_taken(head):
    """The device of the first node is another's."""
    where = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    other = ray.remote(num_gpus=1, num_cpus=0)(Nothing).options(scheduling_strategy=where).remote()
    assert ray.get(other.here.remote(), timeout=60)
    yield
    ray.kill(other)


@pytest.fixture
def ray_night(manifest, work, tmp_path):
    """A run with faults on the Ray that is there."""
    (tmp_path / "memo").mkdir(exist_ok=True)

    def run(*faults: Fault, text=SMALL, out="run", stop=None, seen=None, **options) -> Night:
        heard = seen or Seen()
        result = fake_run(manifest(text), *faults, seen=heard, stop=stop, out=Path(out), engine="ray", **options)
        return Night(result, heard, result.seconds)

    return run
