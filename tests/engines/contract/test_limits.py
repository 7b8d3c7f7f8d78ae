"""What ends a run before all is rendered: numbers, clocks, disks."""

from datetime import UTC, datetime, timedelta

import pytest

from batch.run.limits import Limits
from tests.engines.contract.contract import IMAGES, job
from tests.fake_session import Fault


@pytest.mark.parametrize("most", [1, 3, 5])
def test_as_many_images_as_were_asked_for(contract, most):
    ended = contract.run(limits=Limits(max_images=most))
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.stopped.exit_code) == (most, 75)
    assert sum(contract.ledger.times("denoise").values()) == most
    contract.run().assert_all_done()
    assert sum(contract.ledger.times("denoise").values()) == IMAGES


def test_more_than_there_are(contract):
    contract.run(limits=Limits(max_images=50)).assert_all_done()


def test_until_a_time(contract):
    text = job("0..99")
    until = datetime.now(UTC) + timedelta(seconds=contract.kind.start_s + 3)
    ended = contract.run(Fault("slow", seconds=0.3), text=text, limits=Limits(until=until))
    over = datetime.now(UTC)
    ended.assert_sound()
    assert ended.result.stopped.exit_code == 75
    assert "--until" in str(ended.result.stopped)
    assert 0 < ended.result.rendered < 200
    begun = [item.at for item in contract.ledger.entries("denoise")]
    assert len(begun) == ended.result.rendered
    assert max(begun) < until.timestamp()
    # With time for another image it goes on: the last one begins when the time that one takes is still left.
    assert until.timestamp() - max(begun) < 2.5
    assert over > until - timedelta(seconds=2.5)


def test_a_full_disk_ends_it_resumable(contract):
    ended = contract.run(contract.once("enospc", "save", seed=1, prompt="a"))
    ended.assert_sound()
    assert ended.result.stopped.exit_code == 75
    assert ended.folder.failures() == {}
    assert 0 < ended.result.rendered < IMAGES
    saved, before = ended.done(), contract.ledger.times("denoise")
    contract.run().assert_all_done()
    after = contract.ledger.times("denoise")
    assert {key: after[key] for key in saved} == {key: before[key] for key in saved}


def test_a_disk_that_does_not_take_one_image(contract):
    ended = contract.run(contract.once("eio", "save", seed=1, prompt="a"))
    ended.assert_all_done()
    assert ended.watch.kinds() == ["not-written"]
