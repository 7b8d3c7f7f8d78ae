"""What earlier runs tell, kept in the cache."""

import json

import pytest

from batch.plan.known import Known
from batch.plan.rates import learn
from batch.records.values import Call
from batch.store import history
from tests.small_receipts import TASKS, a_receipt, a_task


def record(*receipts):
    history.record(learn(receipts))


def seconds(host="here", device="", task=TASKS[0]) -> float | None:
    """What an image takes, as earlier runs there tell."""
    found = Known(history=history.read().learned(host, device)).image(task)
    return found and found.value


def test_history_is_a_median_over_the_last_runs(own_cache):
    for each in (100.0, 100.0, 9000.0, 110.0):  # one night the card was shared
        record(a_receipt(TASKS[0], each))
    assert seconds() == pytest.approx(105.0)
    for _ in range(history.KEPT_RUNS):
        record(a_receipt(TASKS[0], 50.0))
    assert seconds() == pytest.approx(50.0)
    entries = history.read().entries
    assert {(entry.part, len(entry.values)) for entry in entries} == {("denoise", 9), ("bytes", 9)}
    assert (seconds("elsewhere"), seconds("here", "another card")) == (None, None)
    assert list(own_cache.iterdir()) == [own_cache / "history.json"]


def test_history_keeps_settings_and_first_images_apart():
    offloaded = a_task(0, memory="offload", memory_steps=(Call(name="model_cpu_offload"),))
    record(a_receipt(offloaded, 900.0))
    assert (seconds(), seconds(task=offloaded)) == (None, pytest.approx(900.0))
    record(a_receipt(TASKS[0], 500.0, warmup=True, load_s=20.0), a_receipt(TASKS[1], 100.0))
    assert seconds() == pytest.approx(100.0)
    assert Known(history=history.read().learned("here")).load(TASKS[0]) == pytest.approx(20 + 400)


def test_what_earlier_versions_kept_is_not_believed(own_cache):
    """They did not say under which memory setting it was learned."""
    own_cache.mkdir(parents=True, exist_ok=True)
    old = {"host": "here", "device": "card", "model": "m", "dtype": "float32", "format": "png", "date": "2026"}
    entry = {**old, "seconds": [1e-9], "bytes_per_pixel": [0.1]}
    (own_cache / "history.json").write_text(json.dumps({"schema": 1, "entries": [entry]}))
    assert history.read() == history.History()
    record(a_receipt(TASKS[0], 70.0))
    assert seconds() == pytest.approx(70.0)


@pytest.mark.parametrize(
    "damage",
    [b"", b"\0\xff[", b"[]", b'{"entries": 3}', b'{"entries": [{}]}', b"[" * 100_000, None],
)
def test_a_damaged_history_is_ignored_and_written_again(own_cache, damage):
    record(a_receipt(TASKS[0]))
    whole = history.read()
    if damage is None:
        damage = (own_cache / "history.json").read_bytes().replace(b'"values": [', b'"values": [NaN, ')
    (own_cache / "history.json").write_bytes(damage)
    assert history.read() == history.History()
    record(a_receipt(TASKS[0]))
    assert [item.values for item in history.read().entries] == [item.values for item in whole.entries]


def test_a_history_that_cannot_be_kept_fails_nothing(own_cache):
    own_cache.write_text("a file where the folder should be")
    record(a_receipt(TASKS[0]))
    assert history.read() == history.History()
