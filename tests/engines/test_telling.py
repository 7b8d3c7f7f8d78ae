"""The end of a run that tells somebody: the folder is free by then, and nobody is waited for too long."""

import json
import shlex
import signal
import sys
import time
from pathlib import Path

import psutil

from batch.base.errors import EXIT_INTERRUPTED, EXIT_OK
from batch.store import lock
from tests.engines.steered import JOB, POSIX, done, happened, started, until, until_slow

pytestmark = POSIX

HANGS = shlex.join(
    [
        sys.executable,
        "-c",
        """\
import os, pathlib, time
pathlib.Path("part").write_text(str(os.getpid()))
os.replace("part", "told")
time.sleep(100)
""",
    ]
)
"""Somebody who never hears it out."""


def telling(run):
    """Wait until somebody is being told."""
    until(lambda: Path("told").exists() and lock.holder(Path("run/.run")) is None, run)
    return psutil.Process(int(Path("told").read_text()))


def test_a_stop_within_a_time_waits_for_nobody(manifest, work):
    manifest(JOB)
    with started("--stop-within", "4s", "--notify", HANGS, slow="denoise:0.5:1") as run:
        until_slow(run)
        start = time.monotonic()
        run.send_signal(signal.SIGTERM)
        child = telling(run)
        _, err = run.communicate(timeout=20)
        taken = time.monotonic() - start
    assert (run.returncode, done()) == (EXIT_INTERRUPTED, 2)
    assert taken < 5.5  # the interpreter ends too
    assert "was not told 'stopped': nobody waited for it any longer, and it is ended" in err
    assert not child.is_running()


def test_the_end_is_told_before_anybody_is_waited_for(cli, manifest, work):
    """And the folder is free meanwhile: the first Ctrl-C says who is waited for, the second leaves them."""
    manifest(JOB)
    with started("--json", "--max-images", "2", "--notify", HANGS) as run:
        child = telling(run)
        while json.loads(run.stdout.readline())["event"] != "end":
            pass
        said = cli("status", "run")
        assert "not running" in said.out
        run.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert run.poll() is None
        run.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, err = run.communicate(timeout=20)
        taken = time.monotonic() - start
    assert run.returncode == 75
    assert taken < 3
    assert f"telling {sys.executable}, up to " in err
    assert "(again: it is left)" in err
    assert "nobody waited for it any longer, and it is ended" in err
    assert "Traceback" not in err
    assert not child.is_running()


def test_a_wait_for_somebody_who_is_told_is_said(manifest, work):
    manifest(JOB)
    slow = shlex.join([sys.executable, "-c", "import time; time.sleep(1.6)"])
    with started("--notify", slow) as run:
        _, err = run.communicate(timeout=30)
    assert run.returncode == EXIT_OK
    assert "(Ctrl-C twice: it is left)" in err
    assert "was not told" not in err


def test_a_stop_while_a_worker_starts_is_told(cli, manifest, work):
    """After a resume: nobody looks for news then but the worker's parent."""
    manifest(JOB)
    with started("--json", slow="denoise:1:1") as run:
        until_slow(run)
        assert cli("pause", "run").code == EXIT_OK
        assert cli("resume", "run", "--no-wait").code == EXIT_OK
        until(lambda: happened("resumed"), run)
        assert cli("stop", "run").code == EXIT_OK
        out, _ = run.communicate(timeout=20)
    kinds = [json.loads(line)["event"] for line in out.splitlines()]
    assert (kinds.count("stopping"), kinds[-1]) == (1, "end")
    assert len(happened("stopping")) == 1
