"""Exactly one outcome for each image, and a whole file for each that is done."""

from batch.records.events import Crew
from tests.engines.contract.contract import IMAGES, job
from tests.fake_session import Fault
from tests.helpers import hashes


def test_each_image_once(contract):
    ended = contract.run()
    ended.assert_all_done()
    assert contract.ledger.times("denoise") == dict.fromkeys(ended.done(), 1)
    assert contract.ledger.times("decode") == dict.fromkeys(ended.done(), 1)
    assert ended.watch.kinds() == []


def test_the_bytes_are_those_of_any_engine(contract):
    contract.run()
    assert contract.run().result.rendered == 0
    assert hashes(contract.root) == contract.undisturbed()


def test_a_failure_is_an_outcome_too(contract):
    ended = contract.run(Fault("error", "denoise", seed=1))
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed, ended.result.stopped) == (IMAGES - 2, 2, None)
    assert set(ended.told()) == set(contract.ids().values())
    assert set(ended.folder.failures()) == {contract.ids()["a", 1], contract.ids()["b", 1]}
    # The next run tries them again, and nothing else.
    again = contract.run()
    assert (again.result.rendered, again.result.failed) == (2, 0)
    again.assert_all_done()


def test_its_seats_are_told_before_anything_is_rendered(contract):
    told = []
    contract.run(then=lambda event: told.append(type(event).__name__))
    assert told.index("Crew") < told.index("Loading") < told.index("Beat")
    crews = []
    contract.run(text=job("0..3"), then=lambda event: crews.append(event) if isinstance(event, Crew) else None)
    numbers = [seat.number for seat in crews[-1].seats]
    assert sorted(set(numbers)) == list(range(contract.kind.workers))
