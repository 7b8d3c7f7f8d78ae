"""Pictures that are none, and disks that do not take them."""

import pytest

from batch.report import table
from tests.engines.nights import JOB, undisturbed
from tests.fake_session import Fault


def test_a_bad_picture_is_decoded_once_more_in_float32(night):
    ended = night(Fault("nan", "decode", seed=0), Fault("flat", "decode", seed=1), Fault("size", "decode", seed=2))
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["invalid"] * 6
    repaired = {item.task.seed: item.repaired for item in ended.receipts()}
    assert "not finite" in repaired[0]
    assert "one colour" in repaired[1]
    assert "1344x767 pixels instead of 1344x768" in repaired[2]
    assert all(item.degraded_from == "" for item in ended.receipts())


def test_a_picture_that_stays_bad_is_invalid_and_never_done(night):
    ended = night(Fault("nan", "denoise", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    rows = table.read(ended.folder.root / "results.csv")
    assert rows.status.value_counts().to_dict() == {"done": 5, "invalid": 1}
    assert len(list((ended.folder.root / "images").iterdir())) == 5


def test_picture_after_picture_invalid_stops_the_run(night):
    text = JOB.replace("0..2", "0..19")
    ended = night(Fault("nan", "denoise"), text=text)
    assert (ended.result.rendered, ended.result.failed) == (0, 5)
    assert ended.result.stopped.exit_code == 1
    assert "5 images failed one after the other" in str(ended.result.stopped)
    ended = night(Fault("nan", "denoise"), out="two",
                  text=text.replace("{min_free_disk", "{max_consecutive_failures: 2, min_free_disk"))  # fmt: skip
    assert ended.result.failed == 2


def test_an_unwritten_image_is_rendered_again_in_the_same_run(night, once):
    ended = night(once("eio", "save", seed=1, prompt="a"), engine="process")
    assert (ended.result.rendered, ended.result.failed) == (6, 0)
    assert ended.seen.kinds() == ["not-written"]
    assert ended.parts() == []
    assert ended.hashes() == undisturbed(night)


def test_a_disk_that_stays_broken_ends_the_run_after_five(night):
    ended = night(Fault("eio", "save", seed=1, prompt="a"))
    assert (ended.result.rendered, ended.result.failed) == (5, 1)
    ended = night(Fault("eio", "save"), out="all", text=JOB.replace("0..2", "0..9"))
    assert ended.result.stopped.exit_code == 1
    assert ended.result.rendered == 0


def test_a_full_disk_stops_resumable_and_counts_no_attempt(night):
    ended = night(Fault("enospc", "save", seed=1, prompt="a"), engine="process")
    assert ended.result.stopped.exit_code == 75
    assert ended.failures() == {}
    assert ended.parts() == []
    rest = night(engine="process")
    assert rest.result.failed == 0
    assert len(rest.receipts()) == 6
    assert rest.hashes() == undisturbed(night)


@pytest.mark.parametrize(
    "arguments",
    [("banana",), ("error", "banana"), ("enospc", "denoise"), ("nan", "save"), ("exit", "load", None, None, 1)],
)
def test_a_fault_that_cannot_happen_is_refused(arguments):
    with pytest.raises(ValueError, match=r"there is no|does not happen|memo"):
        Fault(*arguments)
