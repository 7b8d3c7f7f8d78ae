"""Rungs taken for want of memory hold for every device of the kind."""

import pytest

from tests.engines.contract.contract import job
from tests.engines.contract.ledger import Wait
from tests.fake_session import Fault

RUNG = "model_cpu_offload"


def test_a_rung_is_taken_once(contract):
    """The others wait until the first image's decoding has struck: from then on all know what it learned."""
    text = job("0..5", prompts="a")
    waits = (Wait(file=".run/rungs.json", root=str(contract.root), but=0),)
    backend = contract.backend(Fault("oom-torch", "decode", unless=RUNG), waits=waits)
    ended = contract.run(text=text, backend=backend)
    ended.assert_all_done()
    struck = [item for item in contract.ledger.entries("decode") if RUNG not in item.steps]
    assert len(struck) == 1
    assert ended.watch.kinds() == ["out-of-memory"]
    assert {item.degraded_from for item in ended.folder.scan().receipts.values()} == {"auto"}


def test_a_rung_holds_for_the_next_run(contract):
    fault = Fault("oom-torch", "decode", unless=RUNG)
    contract.run(fault).assert_all_done()
    struck = len([item for item in contract.ledger.entries("decode") if RUNG not in item.steps])
    assert struck <= contract.kind.workers
    again = contract.run(fault, text=job("0..5"))
    again.assert_all_done(12)
    assert len([item for item in contract.ledger.entries("decode") if RUNG not in item.steps]) == struck
    assert again.watch.kinds() == []


@pytest.mark.parametrize("stage", ["denoise", "decode"])
def test_without_fallback_it_is_a_failure(contract, stage):
    ended = contract.run(Fault("oom-torch", stage, seed=1), fallback=False)
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed) == (4, 2)
    assert {item.error.kind for item in ended.folder.failures().values()} == {"OutOfMemoryError"}
