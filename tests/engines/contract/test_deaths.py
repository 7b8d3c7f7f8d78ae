"""Workers that die cost the image in flight, and none that is committed."""

import pytest

from batch.records.events import Happening
from batch.records.kinds import HappeningKind
from tests.engines.contract.contract import IMAGES, job
from tests.engines.contract.promises import Promise
from tests.fake_session import Fault
from tests.helpers import hashes

pytestmark = pytest.mark.promises(Promise.OUTLIVES_WORKERS)

QUEUED = 3
"""Images that a worker may have rendered and not yet saved when it dies."""


@pytest.mark.parametrize("stage", ["encode", "denoise", "decode"])
def test_before_a_commit(contract, stage):
    ended = contract.run(contract.once("sigkill", stage, **({} if stage == "encode" else {"seed": 1})))
    ended.assert_all_done()
    assert ended.watch.kinds() == ["worker-died"]
    assert hashes(contract.root) == contract.undisturbed()
    # What had a receipt when it died is not rendered again: of what was in hand no more than was not saved yet.
    assert sum(contract.ledger.times("denoise").values()) <= IMAGES + QUEUED


def test_behind_a_commit_before_anybody_was_told(contract):
    text = job("0..5")
    behind = contract.ids(text)["a", 0]
    ended = contract.run(text=text, backend=contract.backend(dies_behind=behind))
    ended.assert_all_done(12)
    assert ended.watch.kinds() == ["worker-died"]
    assert contract.ledger.times("denoise")[behind] == 1
    assert ended.told()[behind] == 1


def test_a_poison_task(contract):
    text = job("0..4")
    poison = contract.ids(text)["a", 1]
    ended = contract.run(Fault("exit", seed=1, prompt="a"), text=text)
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (9, 1, None)
    (failure,) = ended.folder.failures().values()
    assert (failure.task.id, failure.error.kind, failure.attempts) == (
        poison,
        "WorkerDied",
        contract.kind.tries,
    )
    # A death while another image was being saved has no certain cause, and is not counted.
    assert contract.ledger.times("denoise")[poison] - contract.kind.tries in (0, 1)
    assert set(ended.told()) == set(contract.ids(text).values())


def test_many_poison_tasks(contract):
    text = job("0..5")
    ended = contract.run(*(Fault("exit", seed=seed, prompt="a") for seed in (0, 2, 4)), text=text)
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (9, 3, None)
    assert {item.attempts for item in ended.folder.failures().values()} == {contract.kind.tries}
    again = contract.run(text=text, retry_failed=True)
    assert again.result.rendered == 3
    again.assert_all_done(12)


def test_a_death_is_told_with_its_seat(contract):
    told = []

    def hear(event):
        if isinstance(event, Happening) and event.kind == HappeningKind.WORKER_DIED:
            told.append(event.seat)

    contract.run(contract.once("exit", seed=1), then=hear)
    assert len(told) == 1
    assert told[0] in range(contract.kind.workers)


def test_a_worker_killed_every_few_images(contract):
    text = job("0..9", retries=30)
    ended = contract.run(text=text, backend=contract.backend(dies_after=5))
    ended.assert_all_done(20)
    assert ended.watch.count("worker-died") >= 20 // (5 + QUEUED)
    assert hashes(contract.root) == contract.undisturbed(text)
