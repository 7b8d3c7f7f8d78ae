"""Clusters of several nodes: one that sees another file system, nodes that come, go, or have other versions."""

import shlex
import subprocess
import sys

import pytest

from batch.base.errors import UserError
from batch.engines.ray import nodes
from batch.engines.ray.node import Node
from batch.records.events import Beat, Crew
from batch.records.kinds import HappeningKind
from batch.store.folder import RunFolder
from tests.engines.ray.conftest import MANY, SMALL, Everything, left_behind
from tests.fake_session import Fault
from tests.helpers import receipts_of


def can_mount() -> bool:
    try:
        command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Nothing:
    """Takes a device."""

    def here(self):
        return True


def here():
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class Drops(Everything):
    """Has the first node leave, and another join, as soon as both devices are at work."""

    def __init__(self, other, start):
        super().__init__()
        self._other, self._start = other, start
        self.at_work = set()

    def on(self, event):
        super().on(event)
        if isinstance(event, Beat) and event.stage == "denoise" and self._other is not None:
            self.at_work.add(event.seat)
            if self.at_work == {0, 1}:
                self._other.leave()
                self._other = None
                self._start()


def test_a_node_that_leaves_and_one_that_comes(ray_night, night, other_node):
    seen = Drops(other_node(), other_node)
    done = ray_night(Fault("slow", "denoise", seconds=2.0), text=MANY, seen=seen)
    assert done.result.exit_code == 0
    assert done.hashes() == night(text=MANY, out="undisturbed").hashes()
    assert "has left the cluster" in seen.texts(HappeningKind.SEAT_LEFT)[0]
    assert len(seen.texts(HappeningKind.SEAT_JOINED)) == 1
    assert not done.failures()
    (last,) = {tuple(seat.number for seat in crew.seats) for crew in seen.of(Crew)[-1:]}
    assert 2 in last


@pytest.mark.skipif(sys.platform != "linux" or not can_mount(), reason="file systems cannot be mounted here")
def test_a_node_that_sees_other_folders_sends_its_files(ray_night, night, other_node, cache, tmp_path):
    ray = pytest.importorskip("ray")
    hidden = " && ".join(f"mount -t tmpfs tmpfs {shlex.quote(str(folder))}" for folder in (tmp_path, cache))
    other_node(gpus=2, before=hidden)
    first = ray.remote(num_gpus=1, num_cpus=0)(Nothing).options(scheduling_strategy=here()).remote()
    assert ray.get(first.here.remote(), timeout=60)
    seen, before = Everything(), left_behind()
    try:
        done = ray_night(text=MANY, seen=seen, keep_latents=True)
    finally:
        ray.kill(first)
    assert done.result.exit_code == 0
    assert done.hashes() == night(text=MANY, out="undisturbed").hashes()
    assert all(seat.host for crew in seen.of(Crew) for seat in crew.seats)
    folder = RunFolder(done.result.folder)
    for receipt in receipts_of(folder.root):
        assert folder.thumb_path(receipt.task.id).is_file()
        assert folder.latents_path(receipt.task.id).is_file()
        assert (folder.root / receipt.file.path).stat().st_size == receipt.file.bytes
    assert left_behind() <= before


def test_versions_that_differ_are_refused_before_anything_is_rendered(ray_night, head, monkeypatch):
    own = nodes.versions()
    monkeypatch.setattr(nodes, "versions", lambda: {**own, "torch": "1.0"})
    with pytest.raises(UserError) as refused:
        ray_night(text=SMALL)
    said = str(refused.value).splitlines()
    assert said[0].endswith(": torch")
    assert said[1].split() == ["python", "run_batch", "torch", "diffusers", "transformers"]
    assert "1.0" in said[2]
    assert own["torch"] in said[3]
    assert not receipts_of("run")


def test_a_preempted_node_takes_no_attempt(head, monkeypatch):
    from ray.exceptions import RayActorError

    node = Node(id="gone", name="spot-7", is_here=False, units=1)
    death = node.explained(RayActorError(preempted=True))
    assert death.innocent
    assert death.reason == "spot-7 was taken away (preempted)"
    assert node.explained(RayActorError()).reason == "spot-7 has left the cluster"
