"""What tests of runs on Ray share: its nodes, and how to run on them."""

import contextlib
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

from tests.engines.nights import Night
from tests.engines.two_gpus import STORE
from tests.fake_session import Fault
from tests.helpers import Seen, fake_run

ray = pytest.importorskip("ray")
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

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


def homes():
    """Folders of hosts, whether these are alive or not."""
    return set(Path(tempfile.gettempdir()).glob("run_batch-ray-*"))


@pytest.fixture
def leaves_nothing():
    """No host begun in this test goes without its folder. Others, begun before or elsewhere, may die meanwhile."""
    before = homes()
    yield
    assert not {home for home in homes() - before if not psutil.pid_exists(int(home.name.split("-")[2]))}


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:  # one process of several that test at once has the one Ray
            item.add_marker(pytest.mark.xdist_group("ray"))


@contextmanager
def taken(gpus):
    """So many GPUs of the first node are another's."""
    where = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    other = ray.remote(num_gpus=gpus, num_cpus=0)(Nothing).options(scheduling_strategy=where).remote()
    assert ray.get(other.here.remote(), timeout=60)
    try:
        yield
    finally:
        ray.kill(other)


class Nothing:
    """Takes a device."""

    def here(self):
        return True


@pytest.fixture
def local_ray(two_gpus):
    """One node with two GPUs that are none."""
    return ray


@pytest.fixture
def head(two_gpus):
    """A cluster whose first node has one GPU, and where it is to be joined."""
    with taken(1):
        yield two_gpus


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


@pytest.fixture
def first_taken(head):
    """Nothing is free at the first node."""
    with taken(1):
        yield


@pytest.fixture
def ray_night(manifest, work, tmp_path):
    """A run with faults on the Ray that is there."""
    (tmp_path / "memo").mkdir(exist_ok=True)

    def run(*faults: Fault, text=SMALL, out="run", stop=None, seen=None, **options) -> Night:
        heard = seen or Seen()
        result = fake_run(manifest(text), *faults, seen=heard, stop=stop, out=Path(out), engine="ray", **options)
        return Night(result, heard, result.seconds)

    return run
