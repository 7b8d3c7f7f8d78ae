"""How long a worker may be silent."""

import os
import subprocess
import time

import psutil
import pytest

from batch.base import atomic
from batch.store.folder import RunFolder
from tests.engines.nights import REAL, RUN, process_engine, until_an_image


def test_a_hang_is_noticed_and_the_image_is_rendered_again(night, once):
    ended = night(once("hang", seed=1, prompt="b"), engine="process", task_timeout=1.5)
    assert ended.result.rendered == 6
    assert ended.seen.kinds() == ["stalled"]
    assert "no sign of life" in ended.seen.happenings[0].text
    stacks = ended.seen.happenings[0].data["log"]
    assert "fake_session.py" in stacks  # where it hung
    assert ended.seconds < 20


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
def test_a_run_that_was_stopped_and_continued_is_no_hang(manifest, work):
    """Ctrl-Z, and a laptop that slept: the time nobody listened is no silence of the worker."""
    manifest(REAL)
    run = subprocess.Popen([*RUN, "--task-timeout", "3s"], env=process_engine(), stderr=subprocess.PIPE, text=True)
    until_an_image(run, work / "run")
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    time.sleep(5)
    for process in reversed(family):
        process.resume()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "stalled" not in err


@pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
def test_a_worker_that_is_stopped_alone_is_a_hang(manifest, work):
    manifest(REAL)
    run = subprocess.Popen([*RUN, "--task-timeout", "2s"], env=process_engine(), stderr=subprocess.PIPE, text=True)
    until_an_image(run, work / "run")
    for process in psutil.Process(run.pid).children():
        if "resource_tracker" not in " ".join(process.cmdline()):
            process.suspend()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "stalled" in err
    assert len(RunFolder(work / "run").scan().receipts) == 9
    assert not list((work / "run").rglob(f"*{atomic.TEMP_SUFFIX}"))


def test_how_long_is_too_long_is_learned():
    from batch.engines.patience import FIRST_S, LEAST_S, Patience

    patience = Patience()
    assert patience.limit("decode") == FIRST_S
    patience.heard("decode", 0.5)
    assert patience.limit("decode") == LEAST_S
    patience.heard("decode", 40.0)
    patience.heard("decode", 1.0)
    assert patience.limit("decode") == 400.0
    assert patience.limit("denoise") == FIRST_S
    by_hand = Patience(by_hand=7.0)
    by_hand.heard("decode", 100.0)
    assert by_hand.limit("decode") == 7.0
    assert by_hand.limit("load", loading=True) == FIRST_S


@pytest.mark.parametrize("time", ["soon", "-3", "0", "5 days"])
def test_a_time_that_is_none(cli, manifest, time):
    outcome = cli("run", manifest(), f"--task-timeout={time}")
    assert outcome.code == 2
    assert "write 90s, 10m or 1h" in outcome.err
