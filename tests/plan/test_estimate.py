"""Where an estimate comes from: this run, earlier ones, or how photographs are."""

import pytest

from batch.plan.estimate import estimate, learn
from batch.records.receipts import StagePeak
from tests.small_receipts import TASKS, a_receipt, a_task


def test_where_an_estimate_comes_from():
    nothing = estimate(TASKS, [])
    assert (nothing.seconds, nothing.seconds_from, nothing.disk_from) == (
        None,
        "not known",
        "as photographs take it",
    )
    assert 12 * 1_900_000 <= nothing.disk_bytes < 12 * 2_000_000
    earlier = learn([a_receipt(TASKS[0], 50.0, size=1_000_000)])
    told = estimate(TASKS, [], earlier)
    assert (told.seconds, told.seconds_from, told.disk_from) == (600.0, "earlier runs", "earlier runs")
    mine = estimate(TASKS[1:], [a_receipt(TASKS[0], 100.0)], earlier)
    assert (mine.seconds, mine.seconds_from, mine.disk_from) == (1100.0, "this run", "this run")
    mixed = estimate([*TASKS[1:], a_task(1, model="other")], [a_receipt(TASKS[0])], earlier)
    assert (mixed.seconds, mixed.seconds_from, mixed.disk_from) == (None, "not known", "as photographs take it")
    raw = a_task(1, format="tiff", format_options=(("compression", "none"),))
    assert estimate([raw], []).disk_bytes > 3_000_000


def test_another_format_takes_as_long_and_another_size():
    known = learn([a_receipt(TASKS[0], 100.0, size=2_000_000)])
    jpeg = a_task(1, format="jpeg")
    told = estimate([jpeg], [], known)
    assert told.seconds == pytest.approx(100.0)
    assert (told.seconds_from, told.disk_from) == ("earlier runs", "as photographs take it")
    assert told.disk_bytes < 800_000


def test_bytes_are_learned_from_the_same_model_alone():
    """Pictures of the demo take a tenth of what photographs do."""
    known = learn([a_receipt(a_task(1, model="demo"), size=100_000), a_receipt(TASKS[0], size=2_000_000)])
    other = estimate([a_task(1, model="other")], [], known)
    assert (other.disk_from, other.disk_bytes > 1_900_000) == ("as photographs take it", True)
    half = estimate([a_task(1, dtype="bfloat16")], [], known)
    assert (half.disk_from, half.disk_bytes > 2_000_000) == ("earlier runs", True)


def test_what_was_only_decoded_tells_no_rate():
    decoded = a_receipt(TASKS[0], denoise=None, decode=StagePeak(seconds=1.0))
    assert learn([decoded])["m", "float32", "png"].seconds is None
    first, second = a_receipt(TASKS[0], 500.0, warmup=True), a_receipt(TASKS[1], 100.0)
    assert estimate([TASKS[2]], [first, second]).seconds == pytest.approx(100.0)
    assert estimate([TASKS[2]], [first, decoded]).seconds == pytest.approx(500.0)
