"""What ends a run before all is rendered: numbers, clocks, disks."""

from datetime import UTC, datetime, timedelta

import pytest

from batch.records.events import Beat
from batch.records.kinds import Stage
from batch.run.limits import Limits
from tests.engines.contract.contract import IMAGES, job
from tests.fake_session import Fault


@pytest.mark.parametrize("most", [1, 5])
def test_as_many_images_as_were_asked_for(contract, most):
    ended = contract.run(limits=Limits(max_images=most))
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.stopped.exit_code) == (most, 75)
    assert sum(contract.ledger.times("denoise").values()) == most
    contract.run().assert_all_done()
    assert sum(contract.ledger.times("denoise").values()) == IMAGES


def test_more_than_there_are(contract):
    contract.run(limits=Limits(max_images=50)).assert_all_done()


WINDOW_S = 4.0


class Until(Limits):
    """``--until`` a time that is so long after the first image was begun, however long it took to start."""

    __slots__ = ("at",)

    def deadlines(self, _passed, now):
        at = getattr(self, "at", None)
        return [("--until 07:00", 3600.0 if at is None else (at - now).total_seconds())]

    def on(self, event):
        if isinstance(event, Beat) and event.stage == Stage.DENOISE and not hasattr(self, "at"):
            object.__setattr__(self, "at", datetime.now(UTC) + timedelta(seconds=WINDOW_S))


def test_until_a_time(contract):
    limits = Until()
    ended = contract.run(Fault("slow", seconds=0.2), text=job("0..99"), limits=limits, then=limits.on)
    ended.assert_sound()
    assert ended.result.stopped.exit_code == 75
    assert "--until" in str(ended.result.stopped)
    assert contract.kind.workers < ended.result.rendered < 200
    begun = contract.ledger.entries("denoise")
    assert len(begun) == ended.result.rendered
    # What is begun is done by then, as far as anybody can tell: nothing is begun in the last moment.
    assert begun[-1].at < limits.at.timestamp() - 0.2


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
