"""Rungs taken for want of memory hold for every device of the kind."""

from collections import Counter

import pytest

from tests.engines.contract.contract import JOB, job
from tests.engines.contract.ledger import Wait
from tests.fake_session import Fault


def large(text):
    """The job in a size that has tiles to be decoded in."""
    return text.replace("model: demo,", "model: demo-1k,").replace("512x512", "1344x768")


RUNG = "vae_tiling(stride_height=448"
"""It is on the ladder of every device, for some below others."""


def struck(contract):
    """How often decoding ran out of memory under each setting."""
    tried = [tuple(item.steps) for item in contract.ledger.entries("decode")]
    return Counter(steps for steps in tried if not any(step.startswith(RUNG) for step in steps))


def test_a_rung_is_taken_once(contract):
    """The others wait until the first image is there: what it learned all know from then on."""
    text = large(job("0..5", prompts="a"))
    waits = (Wait(file=".run/receipts/*/*.json", root=str(contract.root), but=0),)
    backend = contract.backend(Fault("oom-torch", "decode", unless=RUNG), waits=waits)
    ended = contract.run(text=text, backend=backend)
    ended.assert_all_done()
    assert set(struck(contract).values()) == {1}, struck(contract)
    assert ended.watch.kinds() == ["out-of-memory"] * len(struck(contract))
    assert {item.degraded_from for item in ended.folder.scan().receipts.values()} == {"auto"}


def test_a_rung_holds_for_the_next_run(contract):
    fault = Fault("oom-torch", "decode", unless=RUNG)
    contract.run(fault, text=large(JOB)).assert_all_done()
    before = struck(contract)
    assert 0 < max(before.values()) <= contract.kind.workers
    again = contract.run(fault, text=large(job("0..5")))
    again.assert_all_done(12)
    assert struck(contract) == before
    assert again.watch.kinds() == []


@pytest.mark.parametrize("stage", ["denoise", "decode"])
def test_without_fallback_it_is_a_failure(contract, stage):
    ended = contract.run(Fault("oom-torch", stage, seed=1), fallback=False)
    ended.assert_sound()
    assert (ended.result.rendered, ended.result.failed) == (4, 2)
    assert {item.error.kind for item in ended.folder.failures().values()} == {"OutOfMemoryError"}
