"""Models that cannot be loaded, and texts."""

import pytest

from tests.engines.contract.contract import IMAGES, JOB, job
from tests.engines.contract.promises import Promise
from tests.fake_session import Fault

TWO_MODELS = "resize: true\n" + JOB.replace("model: demo,", "model: [demo, demo-1k],")


def test_a_model_that_cannot_be_loaded(contract):
    ended = contract.run(Fault("error", "load"))
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.stopped.exit_code) == (0, 1)
    assert "the model demo cannot be loaded" in str(ended.result.stopped)
    assert len(contract.ledger.entries("load")) <= 2 * contract.kind.workers
    contract.run().assert_all_done()


@pytest.mark.promises(Promise.OUTLIVES_WORKERS)
@pytest.mark.parametrize("kind_of_fault", ["error", "exit"])
def test_beside_one_that_can(contract, kind_of_fault):
    ended = contract.run(Fault(kind_of_fault, "load", model="demo"), text=TWO_MODELS)
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (IMAGES, IMAGES, None)
    assert {item.task.model for item in ended.folder.scan().receipts.values()} == {"demo-1k"}
    assert {item.error.kind for item in ended.folder.failures().values()} == {"NotLoaded"}
    assert len(ended.told()) == 2 * IMAGES
    contract.run(text=TWO_MODELS, retry_failed=True).assert_all_done(2 * IMAGES)


@pytest.mark.promises(Promise.OUTLIVES_WORKERS)
def test_a_model_that_loads_the_second_time(contract):
    ended = contract.run(contract.once("error", "load"))
    ended.assert_all_done()
    assert ended.watch.kinds() == ["load-failed"]


def test_a_session_is_opened_as_rarely_as_can_be(contract):
    contract.run(text=TWO_MODELS).assert_all_done(2 * IMAGES)
    for pid in contract.ledger.pids():
        loaded = [item.key for item in contract.ledger.entries("load") if item.pid == pid]
        turns = [name for name, before in zip(loaded, [None, *loaded], strict=False) if name != before]
        assert len(turns) == len(set(turns)), f"{turns}: it came back to a model that it had left"


def test_texts_are_encoded_once_over_all_workers(contract):
    prompts = "[" + ", ".join(f"text {number}" for number in range(12)) + "]"
    text = job("0..1", prompts=prompts)
    ended = contract.run(text=text)
    ended.assert_all_done(24)
    encoded = contract.ledger.times("encode")
    assert len(encoded) >= 12
    assert set(encoded.values()) == {1}
    assert "no-embeds" not in ended.watch.kinds()
    contract.run(text=job("0..2", prompts=prompts)).assert_all_done(36)
    assert contract.ledger.times("encode") == encoded


def test_a_text_that_cannot_be_encoded_ends_the_run(contract):
    ended = contract.run(Fault("error", "encode", prompt="b"))
    ended.assert_sound()
    assert ended.result.stopped.exit_code == 1
    assert "the text cannot be encoded" in str(ended.result.stopped)
    assert contract.ledger.times("encode")[next(iter(contract.ledger.times("encode")))] == 1
    contract.run().assert_all_done()


@pytest.mark.promises(Promise.OUTLIVES_WORKERS)
def test_a_text_that_kills_its_worker_costs_its_images(contract):
    ended = contract.run(Fault("exit", "encode", prompt="b"))
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (3, 3, None)
    assert {item.error.kind for item in ended.folder.failures().values()} == {"MissingEmbeds"}
    contract.run(retry_failed=True).assert_all_done()
