"""Ctrl-C once, twice, three times wherever a run may be; stop, pause and resume from another terminal."""

import platform
import signal
import time
from pathlib import Path

import psutil
import pytest

from batch.base.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESUMABLE, EXIT_USER
from batch.base.shell import quoted
from batch.records.events import Beat, Happening
from batch.records.receipts import Outcome
from batch.report import table
from batch.run.limits import Limits
from batch.run.steering import Steering
from batch.store import orders
from batch.store.orders import Order, OrderKind
from tests import measurements
from tests.engines.nights import worker_processes
from tests.engines.steered import (
    JOB,
    LONG,
    POSIX,
    children,
    done,
    done_some,
    goes_on,
    happened,
    started,
    until,
    until_slow,
)
from tests.fake_session import FakeSession
from tests.helpers import Seen, fake_run

CASES = {
    # Nothing is at work that could be finished: the first drops, the second kills.
    "load": ("load:1.6", (0, 0, 0)),
    "encode": ("encode:1.6", (0, 0, 0)),
    # The first finishes the second image, the second drops it.
    "denoise": ("denoise:1.6:1", (2, 1, 1)),
    # The stand-in's decoder does not look up before it is done, and what is rendered is saved.
    "decode": ("decode:1.6:1", (2, 2, 1)),
    "save": ("save:1.6:3", (4, 4, 3)),
    "report": ("report:1.6", (4, 4, 4)),
}


def workers_of(run):
    return [worker for worker in worker_processes(run) if worker.is_running()]


@POSIX
@pytest.mark.parametrize("stage", CASES)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_at_every_stage(manifest, work, stage, times):
    path, (slow, images) = manifest(JOB), CASES[stage]
    with started(slow=slow) as run:
        until_slow(run)
        workers = children(run)
        sent = 0
        for _ in range(times):
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                sent += 1
            time.sleep(0.3)
        start = time.monotonic()
        code, taken = run.wait(30), time.monotonic() - start
        err = run.communicate()[1]
    finished = times == 1 and stage in ("save", "report")
    # The third may meet an interpreter that is ending.
    assert code in ({EXIT_OK} if finished else {EXIT_INTERRUPTED, -signal.SIGINT}), err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert alive == []
    assert done() == images[times - 1]
    killed = sent == 3 or (sent == 2 and stage in ("load", "encode"))
    if stage != "report":  # which the second has ended by then
        assert ("ended at once; run the same command again" in err) == (killed and code == EXIT_INTERRUPTED)
    if killed:
        assert taken < 0.3
    # Of one that was killed there may be what has grown with it.
    assert Path("run/results.csv").exists() or killed or (sent == 2 and stage == "report")
    if sent == 2 and stage == "report":
        assert "the report was left out" in err
    assert goes_on(path) == 4 - images[times - 1]


@POSIX
def test_the_first_ctrl_c_says_what_it_waits_for(manifest, work):
    manifest(JOB)
    with started(slow="denoise:1.0:1") as run:
        until_slow(run)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=30)
    assert "stopping: a-1-512x512" in err
    assert "is finished first" in err and "again: it is dropped" in err
    (told,) = happened("stopping")
    assert told.data["level"] == "finish"


@POSIX
@pytest.mark.parametrize(("within", "images"), [("30s", 2), ("1.6s", 1)])
def test_a_stop_takes_no_longer_than_it_has(manifest, work, within, images):
    path = manifest(JOB)
    with started("--stop-within", within, slow="denoise:4:1") as run:
        until_slow(run)
        start = time.monotonic()
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=30)
        taken = time.monotonic() - start
    assert run.returncode == EXIT_INTERRUPTED, err
    assert done() == images
    assert (taken < 3.5) == (images == 1)
    assert Path("run/results.csv").exists()
    assert goes_on(path) == 4 - images


@POSIX
def test_a_run_that_is_to_drop_drops_at_once(manifest, work):
    path = manifest(JOB.replace("run: {", "run: {stop: drop, "))
    with started(slow="denoise:1:1") as run:
        until_slow(run)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    assert run.returncode == EXIT_INTERRUPTED
    assert "what is at work is dropped" in err
    assert goes_on(path) == 3


def test_stop_from_another_terminal(cli, manifest, work):
    path = manifest(JOB)
    with started(slow="denoise:2:1") as run:
        until_slow(run)
        told = cli("stop", "run")
        assert told.code == EXIT_OK
        assert "is finished first" in told.err and told.out == "run has stopped\n"
        assert "; `stop --drop` drops it" in told.err and "again" not in told.err
        _, err = run.communicate(timeout=10)
    assert run.returncode == EXIT_INTERRUPTED
    assert f"stopped: `stop` on {platform.node()} asked for it" in err
    assert f"`stop` on {platform.node()} asked for it; Ctrl-C: it is dropped)" in err
    (kept,) = happened("stopping")
    assert kept.text.startswith("stopping: a-1-512x512") and kept.text.endswith(" is finished first")
    assert goes_on(path) == 2


def test_stop_with_drop_from_another_terminal(cli, manifest, work):
    path = manifest(JOB)
    with started(slow="denoise:2:1") as run:
        until_slow(run)
        assert cli("stop", "run", "--no-wait").code == EXIT_OK
        assert cli("stop", "run", "--drop").code == EXIT_OK
        run.communicate(timeout=10)
    assert goes_on(path) == 3


def test_pause_frees_the_memory_and_resume_goes_on(cli, manifest, work):
    path = manifest(JOB)
    with started(slow="denoise:1:1") as run:
        until_slow(run)
        assert len(workers_of(run)) == 1
        told = cli("pause", "run")
        assert told.code == EXIT_OK
        assert (
            told.out.startswith("run is paused: ")
            and "resume run continues it" in told.out
            and "pausing when a-1" in told.err
        )
        assert workers_of(run) == []
        assert done() == 2
        again = cli("pause", "run")
        assert (again.code, "paused already" in again.out) == (EXIT_OK, True)
        time.sleep(0.5)
        assert done() == 2
        resumed = cli("resume", "run")
        assert (resumed.code, resumed.out == "run continues\n") == (EXIT_OK, True)
        assert run.wait(timeout=30) == EXIT_OK
    assert [len(happened(kind)) for kind in ("paused", "resumed", "stalled", "worker-died")] == [1, 1, 0, 0]
    assert goes_on(path) == 0


def test_nobody_is_there_to_obey(cli, manifest, work):
    path = manifest(JOB)
    assert cli("run", "job.yaml", "--out", "run", "--max-images", "1").code == EXIT_RESUMABLE
    for command in ("stop", "pause", "resume"):
        told = cli(command, "run")
        first, _, then = told.err.partition("; ")
        assert (told.code, first.strip()) == (EXIT_USER, "error: nothing is running in run")
        assert (f"run {quoted(path)} --out run continues it" in then) == (command == "resume")
        assert cli(command, "nowhere").code == EXIT_USER
    assert not Path("run/.run/orders").exists()


@POSIX
@pytest.mark.parametrize("how", ["signal", "stop"])
def test_a_run_that_is_paused_can_be_stopped(cli, manifest, work, how):
    path = manifest(LONG)
    with started() as run:
        until(done_some, run)
        assert cli("pause", "run").code == EXIT_OK
        before = done()
        if how == "signal":
            run.send_signal(signal.SIGINT)
        else:
            assert cli("stop", "run").code == EXIT_OK
        run.communicate(timeout=10)
    assert run.returncode == EXIT_INTERRUPTED
    assert done() == before
    assert Path("run/results.csv").exists()
    goes_on(path, 30)


@POSIX
def test_killed_while_paused_the_next_run_goes_on(cli, manifest, work):
    path = manifest(LONG)
    with started() as run:
        until(done_some, run)
        assert cli("pause", "run").code == EXIT_OK
        run.kill()
        run.wait()
    assert cli("resume", "run").code == EXIT_USER
    goes_on(path, 30)


def test_orders_at_once_are_obeyed_in_turn(cli, manifest, work):
    path = manifest(LONG)
    with started() as run:
        until(done_some, run)
        for command in ("pause", "resume", "pause"):
            assert cli(command, "run", "--no-wait").code == EXIT_OK
        assert cli("pause", "run").code == EXIT_OK
        for command in ("resume", "stop"):
            assert cli(command, "run", "--no-wait").code == EXIT_OK
        assert run.wait(timeout=30) == EXIT_INTERRUPTED
    goes_on(path, 30)


def test_an_order_for_an_earlier_run_is_swept(cli, manifest, work):
    path = manifest(JOB)
    assert cli("run", "job.yaml", "--out", "run", "--max-images", "1").code == EXIT_RESUMABLE
    state = Path("run/.run")
    orders.give(state, OrderKind.STOP, "of another holder")
    (state / "orders" / f"{0:020d}-0badc0de.json").write_text("{")
    assert goes_on(path) == 3


def test_a_measurement_pauses_between_its_settings(cli, manifest, work):
    text = measurements.JOB.replace("[512x512, 672x384]", "512x512").replace(", auto]", "]")
    manifest(text.replace("repeats: 3", "repeats: 2"))
    with started() as run:
        until(done_some, run)
        assert cli("pause", "run").code == EXIT_OK
        assert done() % 2 == 0  # the warm-up and the repeat that a process makes
        assert workers_of(run) == []
        assert cli("resume", "run").code == EXIT_OK
        assert run.wait(timeout=60) == EXIT_OK
    assert set(table.read(Path("run/results.csv")).status) == {"done"}
    assert [len(happened(kind)) for kind in ("paused", "resumed", "worker-died")] == [1, 1, 0]


class Pausing(Seen):
    """Pauses a run of this process at its first image, and gives another order when it rests."""

    def __init__(self, then, at=Outcome):
        super().__init__()
        self.steering, self.then, self.at, self.paused = Steering(), then, at, False

    def on(self, event):
        super().on(event)
        if isinstance(event, self.at) and getattr(event, "ids", True) and not self.paused:
            self.paused = True
            self.steering.obey(Order(OrderKind.PAUSE, "a test"))
        elif isinstance(event, Happening) and event.kind == "paused":
            self.steering.obey(Order(self.then, "a test"))


@pytest.mark.parametrize("then", [OrderKind.RESUME, OrderKind.STOP])
def test_the_engine_in_this_process_pauses_too(manifest, work, monkeypatch, then):
    path, seen, closed = manifest(JOB), Pausing(then), []
    monkeypatch.setattr(FakeSession, "close", lambda _session: closed.append(True))
    result = fake_run(path, seen=seen, stop=seen.steering, out=Path("run"), engine="local")
    assert 0 < result.account.paused_s < result.seconds
    if then == OrderKind.RESUME:
        assert (result.done, result.stopped, seen.kinds(), len(closed)) == (4, None, ["paused", "resumed"], 2)
    else:
        assert (str(result.stopped), seen.kinds(), len(closed)) == (
            "a test asked for it",
            ["paused", "stopping"],
            1,
        )
        goes_on(path)


@pytest.mark.parametrize("engine", ["process", "local"])
def test_where_a_limit_lets_nothing_start_there_is_no_pause(manifest, work, engine):
    """It would wait for a resume that could only end it."""
    path, seen = manifest(JOB), Pausing(OrderKind.RESUME, at=Beat)
    limits = Limits(max_images=1)
    result = fake_run(path, seen=seen, stop=seen.steering, out=Path("run"), engine=engine, limits=limits)
    assert seen.paused
    assert (result.done, seen.kinds()) == (1, [])
    assert str(result.stopped).startswith("--max-images 1 is reached")
