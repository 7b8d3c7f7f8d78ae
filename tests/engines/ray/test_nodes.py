"""Clusters of several nodes: those that come, go, or have other versions."""

from dataclasses import replace

import pytest

from batch.base.errors import UserError
from batch.engines.ray import nodes
from batch.engines.ray.node import Node
from batch.records.events import Beat, Crew
from batch.records.kinds import HappeningKind
from tests.engines.ray.conftest import MANY, SMALL, Everything, OtherNode
from tests.fake_session import Fault
from tests.helpers import receipts_of

pytestmark = pytest.mark.cluster


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


class Preempts(Everything):
    """Takes a node away as soon as it renders."""

    def __init__(self, other):
        super().__init__()
        self._other = other

    def on(self, event):
        super().on(event)
        if isinstance(event, Beat) and event.stage == "denoise" and self._other is not None:
            self._other.preempt()
            self._other = None


def test_what_a_preempted_node_rendered_is_rendered_elsewhere(ray_night, other_node, first_taken):
    seen = Preempts(other_node())
    other_node()
    done = ray_night(Fault("slow", "denoise", seconds=1.0), text=MANY.replace("0..9", "0..3"), seen=seen)
    assert done.result.exit_code == 0
    # Ray may find out only after all is rendered that it is gone, and why.
    gone = (HappeningKind.SEAT_LEFT, HappeningKind.WORKER_DIED)
    (lost,) = [item for item in seen.happenings if item.kind in gone]
    assert "was taken away (preempted)" in lost.text or "does not answer any more" in lost.text
    assert lost.task == ""
    assert not done.failures()
    assert {receipt.attempts for receipt in done.receipts()} == {1}


def test_a_preempted_node_takes_no_attempt(head, monkeypatch):
    from ray.exceptions import RayActorError

    node = Node(id="gone", name="spot-7", is_here=False, units=1)
    death = node.explained(RayActorError(preempted=True))
    assert (death.innocent, death.gone) == (True, True)
    assert death.reason == "spot-7 was taken away (preempted)"
    assert node.explained(RayActorError()).reason == "spot-7 has left the cluster"


def test_a_process_that_was_killed_says_what_that_mostly_is(head):
    from ray.exceptions import ActorDiedError

    error = ActorDiedError()
    error.error_msg += (
        "\nWorker exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
    )
    node = Node(id=OtherNode.nodes()[0], name="far", is_here=False, units=1)
    assert "killed from outside, or by the system when memory ran out" in node.explained(error).reason


def test_a_node_that_says_nothing_of_a_death_is_gone_before_the_cluster_knows(head):
    from ray.exceptions import ActorDiedError

    node = Node(id=OtherNode.nodes()[0], name="far", is_here=False, units=1)
    unexplained = ActorDiedError()
    assert "died unexpectedly" in str(unexplained)
    death = node.explained(unexplained)
    assert (death.innocent, death.reason) == (True, "far does not answer any more")
    assert not death.gone
    assert replace(node, is_here=True).explained(unexplained).reason == "this machine does not answer any more"
    unexplained.error_msg += "\nWorker exit detail: it ended itself"
    death = node.explained(unexplained)
    assert (death.innocent, death.reason) == (False, "the process that holds its device ended: it ended itself")
