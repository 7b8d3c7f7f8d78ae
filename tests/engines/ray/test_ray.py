"""Runs on a local Ray, its GPUs only counted: deaths of hosts, and what is given out.

What holds of every engine is tried in ``tests/engines/contract``.
"""

import contextlib
import os
import signal
import threading
import time

import psutil
import pytest

from batch.base.errors import UserError
from batch.records.events import Beat, Preparing
from batch.records.kinds import HappeningKind
from batch.records.receipts import Outcome
from batch.render.backend import Offered
from batch.run.options import Options
from batch.run.runner import run as run_job
from batch.run.steering import Steering
from tests.engines.ray.conftest import MANY, Everything
from tests.fake_session import FakeBackend, Fault
from tests.helpers import Seen

pytestmark = pytest.mark.usefixtures("local_ray")


def hosts():
    """Those of the Ray that this process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RunBatchHost" in " ".join(process.cmdline()):
                found.append(process)
    return found


class KillsAHost(Everything):
    """Kills the host of one worker as soon as that works on an image."""

    def __init__(self):
        super().__init__()
        self.killed = None
        self.names = []

    def on(self, event):
        super().on(event)
        if isinstance(event, Beat) and event.stage == "denoise" and self.killed is None:
            from ray.util import list_named_actors

            self.names = [item["name"] for item in list_named_actors(all_namespaces=True)]
            self.killed = hosts()[0]
            os.kill(self.killed.pid, signal.SIGKILL)


def test_a_host_that_dies_is_replaced_on_its_device(ray_night, night):
    seen = KillsAHost()
    done = ray_night(Fault("slow", "denoise", seconds=0.3), text=MANY, seen=seen)
    assert done.result.exit_code == 0
    assert HappeningKind.WORKER_DIED in seen.kinds()
    assert done.hashes() == night(text=MANY, out="undisturbed").hashes()
    assert len([name for name in seen.names if name.startswith("run_batch run renders on ")]) == 2


def test_devices_taken_by_others_are_waited_for(ray_night, local_ray):
    @local_ray.remote(num_gpus=2)
    class Other:
        def here(self):
            return True

    other = Other.remote()
    assert local_ray.get(other.here.remote())

    class Frees(Everything):
        def on(self, event):
            super().on(event)
            if isinstance(event, Preparing) and "is taken" in event.text:
                local_ray.kill(other)

    seen = Frees()
    done = ray_night(seen=seen)
    assert done.result.exit_code == 0
    assert [event.text for event in seen.of(Preparing) if "is taken" in event.text] == [
        "every GPU of the Ray cluster is taken: waiting for one of 2 GPUs"
    ]


def test_a_run_that_waits_for_a_device_can_be_stopped(ray_night, local_ray):
    @local_ray.remote(num_gpus=2)
    class Other:
        def here(self):
            return True

    other, stop = Other.remote(), Steering()
    assert local_ray.get(other.here.remote())

    class Stops(Everything):
        def on(self, event):
            super().on(event)
            if isinstance(event, Preparing) and "is taken" in event.text:
                stop.set()

    try:
        assert ray_night(seen=Stops(), stop=stop).result.exit_code == 130
    finally:
        local_ray.kill(other)


def test_a_worker_that_hangs_is_ended_and_shows_where_it_was(ray_night, once):
    done = ray_night(once("hang"), task_timeout=3.0)
    assert done.result.exit_code == 0
    (stalled,) = [item for item in done.seen.happenings if item.kind == HappeningKind.STALLED]
    assert "fake_session.py" in stalled.data["log"]


@pytest.mark.usefixtures("leaves_nothing")
def test_nothing_is_left_of_a_run(ray_night, local_ray):
    ray_night()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and local_ray.available_resources().get("GPU") != 2:
        time.sleep(0.1)
    assert local_ray.available_resources()["GPU"] == 2


class Blind(FakeBackend):
    """Torch as it was built for the CPU alone."""

    def devices(self, _asked):
        return Offered(("cpu",))


def test_a_gpu_that_torch_does_not_find_is_not_rendered_on_the_cpu(ray_night):
    with pytest.raises(UserError, match=r"Ray offers 2 GPUs on .+, and torch finds none there"):
        ray_night(backend=Blind())


def test_a_cluster_whose_first_machine_is_gone_ends_the_run_with_what_is_there(ray_night, local_ray, monkeypatch):
    answers, asked = local_ray.nodes, threading.Event()

    class Silences(Everything):
        def on(self, event):
            super().on(event)
            if isinstance(event, Outcome):
                monkeypatch.setattr("batch.engines.ray.node.ANSWER_S", 0.2)
                monkeypatch.setattr(local_ray, "nodes", lambda: answers() if asked.wait(20) else [])

    try:
        done = ray_night(Fault("slow", "denoise", seconds=0.3), text=MANY, seen=Silences())
    finally:
        asked.set()
    assert done.result.exit_code == 75
    assert "its first machine has not answered for 0 s" in str(done.result.stopped)
    assert done.result.done >= 1 and done.hashes()


def test_an_address_without_the_engine_is_refused(manifest):
    with pytest.raises(Exception, match="no effect without --engine ray"):
        run_job(manifest(), Options(ray_address="auto", engine="process"), Seen(), Steering())


@pytest.mark.parametrize("devices", ["0", "cuda:1", "cpu,cpu"])
def test_devices_are_rays_to_give_out(manifest, devices):
    with pytest.raises(Exception, match="it is Ray that gives out the devices"):
        run_job(manifest(), Options(engine="ray", devices=devices, backend=FakeBackend()), Seen(), Steering())
