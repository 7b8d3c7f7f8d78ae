"""The process of the run is killed, and the run is started again."""

import os
import pickle
import subprocess
import sys
import time

import psutil
import pytest

from batch.run.options import Options
from tests.conftest import ROOT
from tests.engines.contract.contract import job
from tests.fake_session import Fault
from tests.helpers import hashes

TEXT = job("0..9")
IMAGES = 20
IN_FLIGHT = 4
"""Of each worker: one is rendered, and so many may be rendered and not yet saved."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")


def start(contract):
    """The run as a process of its own."""
    place = contract.work / "options.pickle"
    options = Options(
        backend=contract.backend(Fault("slow", seconds=0.1)),
        out=contract.root,
        **contract.kind.options(contract.address),
    )
    place.write_bytes(pickle.dumps((contract.write(TEXT), options)))
    command = [sys.executable, "-m", "tests.engines.contract.driver", str(place)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


def until_done(contract, run, images):
    """Wait until so many images have receipts, and every worker has begun one."""
    end = time.monotonic() + 60
    while (
        len(list(contract.root.glob(".run/receipts/*/*.json"))) < images
        or len(contract.ledger.pids()) < contract.kind.workers
    ):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_and_started_again(contract):
    run = start(contract)
    until_done(contract, run, 4)
    workers = [psutil.Process(pid) for pid in contract.ledger.pids() - {run.pid}]
    assert len(workers) == (0 if contract.kind.engine == "local" else contract.kind.workers)
    family = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.communicate()
    _, left = psutil.wait_procs([*family, *workers], timeout=30)
    assert left == [], "what the run had started has outlived it"
    committed = {path.stem for path in contract.root.glob(".run/receipts/*/*.json")}
    before = contract.ledger.times("denoise")
    ended = contract.run(text=TEXT)
    ended.assert_all_done(IMAGES)
    assert ended.result.rendered == IMAGES - len(committed)
    after = contract.ledger.times("denoise")
    assert {key: after[key] for key in committed} == {key: before[key] for key in committed}
    twice = {key for key, times in after.items() if times > 1}
    assert len(twice) <= IN_FLIGHT * contract.kind.workers
    assert twice.isdisjoint(committed)
    assert set(after.values()) <= {1, 2}
    assert hashes(contract.root) == contract.undisturbed(TEXT)


def test_killed_again_and_again(contract):
    for images in (2, 8, 14):
        run = start(contract)
        until_done(contract, run, images)
        run.kill()
        run.communicate()
    contract.run(text=TEXT).assert_all_done(IMAGES)
    assert max(contract.ledger.times("denoise").values()) <= 4
