"""What earlier runs tell, kept in the cache."""

import pytest

from batch.plan.estimate import cost
from batch.store import history
from tests.small_receipts import TASKS, a_receipt


def test_history_is_a_median_over_the_last_runs(own_cache):
    kind = ("m", "float32", "png")
    for seconds in (100.0, 100.0, 9000.0, 110.0):  # one night the card was shared
        history.record([a_receipt(TASKS[0], seconds)])
    assert history.read().learned("here")[kind].seconds == pytest.approx(105.0 / cost(TASKS[0]))
    for _ in range(history.KEPT_RUNS):
        history.record([a_receipt(TASKS[0], 50.0)])
    assert history.read().learned("here")[kind].seconds == pytest.approx(50.0 / cost(TASKS[0]))
    (entry,) = history.read().entries
    assert len(entry.seconds) == len(entry.bytes_per_pixel) == history.KEPT_RUNS
    assert history.read().learned("elsewhere") == {}
    assert history.read().learned("here", "another card") == {}
    assert list(own_cache.iterdir()) == [own_cache / "history.json"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0\xff[", b"[]", b'{"entries": 3}', b'{"entries": [{}]}', b"[" * 100_000, None],
)
def test_a_damaged_history_is_ignored_and_written_again(own_cache, damage):
    history.record([a_receipt(TASKS[0])])
    whole = history.read()
    if damage is None:
        damage = (own_cache / "history.json").read_bytes().replace(b'"seconds": [', b'"seconds": [NaN, ')
    (own_cache / "history.json").write_bytes(damage)
    assert history.read() == history.History()
    history.record([a_receipt(TASKS[0])])
    assert history.read().learned("here") == whole.learned("here")


def test_a_history_that_cannot_be_kept_fails_nothing(own_cache):
    own_cache.write_text("a file where the folder should be")
    history.record([a_receipt(TASKS[0])])
    assert history.read() == history.History()
