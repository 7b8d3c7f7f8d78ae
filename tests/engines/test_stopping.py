"""Stopping: what is rendered is saved, and no process is left."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from batch.run.steering import Steering
from tests.engines.nights import REAL, RUN, process_engine, until_an_image, worker_processes
from tests.engines.steered import JOB as STEERED
from tests.engines.steered import started, until_slow
from tests.fake_session import Fault


def test_stopping_saves_what_is_rendered_and_drops_the_rest(night, once):
    stop = Steering()

    def after_the_first() -> None:
        while not any(Path("run/.run/receipts").rglob("*.json")):
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=after_the_first, daemon=True).start()
    ended = night(Fault("slow", "denoise", seconds=0.8), engine="process", stop=stop)
    assert ended.result.stopped.exit_code == 130
    assert 0 < ended.result.rendered < 6
    assert ended.parts() == []
    assert len(list((ended.folder.root / "images").iterdir())) == len(ended.receipts())
    assert len(night(engine="process").receipts()) == 6


def test_a_worker_that_does_not_stop_is_ended(night, monkeypatch):
    from batch.engines import patience

    monkeypatch.setattr(patience, "STOP_S", 1.0)
    stop = Steering()
    threading.Timer(2.5, stop.set).start()
    ended = night(Fault("hang", "decode", seed=1), engine="process", stop=stop)
    assert ended.result.stopped.exit_code == 130
    assert ended.seconds < 20
    assert ended.failures() == {}


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGINT)])
def test_a_signal_to_the_group_while_the_worker_starts(manifest, work, number):
    manifest(REAL)
    before = signal.signal(number, signal.SIG_DFL)  # the tests may have been started with nohup
    run = subprocess.Popen(RUN, env=process_engine(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(number, before)
    while not (workers := list(worker_processes(run))):
        assert run.poll() is None
        time.sleep(0.005)
    os.killpg(run.pid, number)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


@pytest.mark.skipif(os.name == "nt", reason="no process groups")
def test_ctrl_c_ends_the_worker_with_its_parent(cli, manifest, work):
    manifest(REAL.replace("0..2", "0..30"))
    run = subprocess.Popen(
        RUN,
        env=process_engine(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until_an_image(run, work / "run")
    workers = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Traceback" not in err
    assert (work / "run" / "results.csv").is_file()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []


def test_a_worker_whose_parent_is_killed_ends(manifest, work):
    manifest(REAL.replace("0..2", "0..200"))
    run = subprocess.Popen(RUN, env=process_engine(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until_an_image(run, work / "run")
    workers = psutil.Process(run.pid).children(recursive=True)
    assert workers
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []


def test_a_pause_that_a_limit_forestalls_says_so(cli, manifest, work):
    manifest(STEERED)
    with started("--max-images", "2", slow="denoise:1.6:1") as run:
        until_slow(run)
        told = cli("pause", "run")
        assert (told.code, "run has ended" in told.out) == (1, True)
        run.communicate(timeout=30)
    assert run.returncode == 75
