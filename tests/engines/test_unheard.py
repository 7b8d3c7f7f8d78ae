"""stop, pause and resume that come to nothing: undone by others, not heard, or never written."""

import errno
import json
import os
import re
import signal
from pathlib import Path

import pytest

from batch.base import disk
from batch.base.errors import EXIT_FAILED, EXIT_FOLDER, EXIT_OK, EXIT_RESUMABLE, EXIT_USER, UserError
from batch.cli import steer
from batch.store import lock, orders
from batch.store.folder import RunFolder
from batch.store.orders import OrderKind
from tests.engines.steered import (
    JOB,
    LONG,
    POSIX,
    done_some,
    goes_on,
    happened,
    started,
    until,
    until_slow,
    waiting,
)


def test_a_pause_that_somebody_ends_is_no_pause(cli, manifest, work):
    path = manifest(JOB)
    with started(slow="denoise:4:1") as run:
        until_slow(run)
        pause = waiting("pause", "run")
        until(lambda: answer_of() == "pausing" and given(0), run)
        assert cli("resume", "run").code == EXIT_OK
        out, err = pause.communicate(timeout=10)
        assert (pause.returncode, out) == (EXIT_FAILED, "run was resumed meanwhile\n")
        assert "pausing when a-1" in err
        assert run.wait(timeout=30) == EXIT_OK
    assert happened("paused") == []
    goes_on(path)


@POSIX
def test_a_resume_that_somebody_undoes_is_said(manifest, work):
    """Both orders are taken at one look: what holds is the last."""
    path = manifest(JOB)
    with started(slow="denoise:4:1") as run:
        resume = ordered_unheard(run, "resume")
        orders.give(Path("run/.run"), OrderKind.PAUSE, lock.holder(Path("run/.run"))["token"])
        run.send_signal(signal.SIGCONT)
        out, _ = resume.communicate(timeout=10)
        assert (resume.returncode, out) == (EXIT_FAILED, "run was paused again meanwhile\n")
        pause = waiting("pause", "run")
        until(lambda: answer_of() == "pausing" and given(0), run)
        orders.give(Path("run/.run"), OrderKind.STOP, lock.holder(Path("run/.run"))["token"])
        out, _ = pause.communicate(timeout=10)
        assert (pause.returncode, out) == (EXIT_FAILED, "run is being stopped\n")
        run.communicate(timeout=20)
    goes_on(path)


def ordered_unheard(run, command):
    """A command that waits for a run which is suspended before it hears."""
    until_slow(run)
    run.send_signal(signal.SIGSTOP)
    waits = waiting(command, "run")
    until(lambda: given(1), run)
    return waits


def answer_of():
    """What the run that goes on says it is at."""
    said = orders.answered(Path("run/.run"), lock.holder(Path("run/.run"))["token"])
    return "" if said is None else said["state"]


def given(number):
    return len(list(Path("run/.run/orders").glob("0*.json"))) == number


@POSIX
def test_a_run_that_is_killed_before_it_hears_has_not_stopped(manifest, work):
    path = manifest(JOB)
    with started(slow="denoise:4:1") as run:
        stop = ordered_unheard(run, "stop")
        run.kill()
        run.wait()
        out, _ = stop.communicate(timeout=10)
    assert stop.returncode == EXIT_FAILED
    assert out.startswith("run was killed before it heard the order")
    assert given(0)
    goes_on(path)


@POSIX
def test_who_waits_for_a_run_that_says_nothing_is_told(cli, manifest, work, monkeypatch):
    """Suspended before it hears, and afterwards."""
    monkeypatch.setattr(steer, "DEAF_S", 1.0)
    manifest(JOB)
    with started(slow="denoise:20:1") as run:
        until_slow(run)
        run.send_signal(signal.SIGSTOP)
        told = cli("stop", "run")
        assert told.code == EXIT_FAILED
        assert (
            f"run does not answer: nothing from process {run.pid} on " in told.out
            and f"`kill {run.pid}`" in told.out
        )
        assert "the order lies there" in told.out
        (order,) = Path("run/.run/orders").glob("0*.json")
        order.unlink()
        run.send_signal(signal.SIGCONT)
        monkeypatch.setattr(steer, "DEAF_S", 2.0)
        monkeypatch.setattr(steer, "AGAIN_S", 0.5)
        told = cli("pause", "run")  # the run repeats itself less often
        assert (told.code, "the last it said was: pausing when a-1" in told.out) == (EXIT_FAILED, True)
        assert "still pausing when a-1" in told.err


@POSIX
def test_a_paused_run_that_is_ended_at_once_is_not_running(cli, manifest, work):
    """And a status that says "paused" is history then."""
    manifest(LONG)
    with started() as run:
        until(done_some, run)
        assert cli("pause", "run").code == EXIT_OK
        for _ in range(3):
            run.send_signal(signal.SIGTERM)
        run.wait(timeout=10)
        said = Path("run/.run/lock.json")
        if said.exists():  # its number lives again
            said.write_text(json.dumps(json.loads(said.read_text()) | {"pid": os.getpid()}))
        told = cli("status", "run")
        assert "not running" in told.out and "paused:" not in told.out.partition("happened")[0]
        assert cli("status", "run", "--watch").code == EXIT_OK
        for command in ("stop", "pause", "resume"):
            assert cli(command, "run").code == EXIT_USER


def test_an_order_that_cannot_be_written_says_what_else_helps(cli, manifest, work, monkeypatch):
    manifest(JOB)
    assert cli("run", "job.yaml", "--out", "run", "--max-images", "1").code == EXIT_RESUMABLE

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with RunFolder(Path("run")).hold():
        monkeypatch.setattr("batch.store.orders.atomic.write", full)
        for command in ("stop", "pause", "resume"):
            told = cli(command, "run", "--no-wait")
            assert told.code == EXIT_FOLDER
            assert "the disk of run is full (No space left on device), so the order cannot be given" in told.err
            assert "Ctrl-C where it was started stops the run, or `" in told.err and str(os.getpid()) in told.err


def test_an_order_into_what_is_read_only_asks_for_no_room(cli, manifest, work, monkeypatch):
    manifest(JOB)
    assert cli("run", "job.yaml", "--out", "run", "--max-images", "1").code == EXIT_RESUMABLE

    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with RunFolder(Path("run")).hold():
        monkeypatch.setattr("batch.store.orders.atomic.write", read_only)
        told = cli("stop", "run")
    assert told.code == EXIT_FOLDER
    said = f"{Path('run/.run')} cannot be written (Read-only file system), so the order cannot be given. Ctrl-C"
    assert said in told.err and "room" not in told.err


def test_a_part_of_a_folder_that_is_read_only_is_named():
    folder = Path("run")
    for refused, named in ((folder / ".run" / "lock", folder / ".run"), (folder, folder), (None, folder)):
        with pytest.raises(UserError, match=f"^{re.escape(str(named))} cannot be written: Read-only"):  # noqa: SIM117
            with disk.must_be_writable(folder):
                raise OSError(errno.EROFS, "Read-only file system", refused and str(refused))
