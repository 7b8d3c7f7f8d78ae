"""Workers that outlive their parent: they end where they can, or the next run ends them, and no others."""

import contextlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from batch.base import orphans
from batch.base.processes import ChildProcess
from batch.engines.handle import Handle
from batch.store import events, workers
from batch.store.folder import RunFolder
from batch.upkeep import doctor
from tests.engines.nights import FAKE_RUN, REAL, process_engine, until_an_image, worker_processes
from tests.fake_session import FakeBackend

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGSTOP")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(**variables):
    return subprocess.Popen(
        FAKE_RUN, env={**process_engine(), **variables}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


@pytest.fixture
def orphan(manifest, work):
    """A worker that is stopped when its parent is killed, in the middle of a run or as it starts."""
    manifest(REAL)
    left = []

    def leave(*, starting=False):
        run = start(FAKE_UNDYING="1")
        if starting:
            until(lambda: list(worker_processes(run)))
        else:
            until_an_image(run, work / "run")
        (worker,) = worker_processes(run)
        worker.suspend()
        until(lambda: worker.status() == "stopped")
        left.append(worker)
        run.kill()
        run.wait()
        return worker

    yield leave
    for worker in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


@linux
@pytest.mark.parametrize("starting", [False, True], ids=["rendering", "starting"])
def test_the_next_run_ends_a_stopped_worker_of_a_killed_one(orphan, cli, work, starting):
    worker = orphan(starting=starting)
    if not starting:  # then the run has told nothing of itself yet
        said = cli("status", "run").out
        assert f"still there: process {worker.pid}, stopped, holds " in said
        assert "; the next run ends it" in said
        (told,) = cli("status", "run", "--json").json()["left_over"]
        assert (told["pid"], told["status"], told["user"]) == (worker.pid, "stopped", "")
        assert told["held"] > 2**20
    again = subprocess.run(FAKE_RUN, env=process_engine(), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    (line,) = [line for line in again.stderr.splitlines() if "earlier run" in line]
    assert line[9:].startswith(
        f"warning: a worker of an earlier run was still there: process {worker.pid}, stopped, "
    )
    assert line.endswith("; it is ended")
    assert orphans.ended(worker)
    folder = RunFolder(work / "run")
    (logged,) = [entry for entry in events.read(folder) if entry.kind == "left-over"]
    assert logged.data["pid"] == worker.pid
    assert logged in events.last_run(events.read(folder))
    assert len(folder.scan().receipts) == 9
    assert not (folder.state / "workers.json").exists()
    assert cli("status", "run", "--json").json()["left_over"] == []


@linux
def test_a_worker_that_goes_on_is_ended_by_the_run_it_was_at(manifest, work):
    manifest(REAL.replace("job", "a").replace("[a, b, c]", "a").replace("0..2", "0"), "a.yaml")
    manifest(REAL.replace("job", "b"), "b.yaml")
    program = [*FAKE_RUN[:3], "run"]
    environment = {**process_engine(), "FAKE_UNDYING": "1"}
    run = subprocess.Popen([*program, "a.yaml", "b.yaml"], env=environment, stderr=subprocess.DEVNULL)
    until_an_image(run, work / "outputs" / "b")
    (worker,) = worker_processes(run)
    worker.suspend()
    until(lambda: worker.status() == "stopped")
    run.kill()
    run.wait()
    assert [item.pid for item in workers.left_over(work / "outputs" / "b" / ".run")] == [worker.pid]
    assert workers.left_over(work / "outputs" / "a" / ".run") == ()
    again = subprocess.run([*program, "b.yaml"], env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"was still there: process {worker.pid}, stopped, " in again.stderr
    assert orphans.ended(worker)


@linux
def test_doctor_names_workers_without_a_parent(orphan, work):
    worker = orphan()
    found = [item for item in orphans.every() if item.pid == worker.pid]
    assert [item.folder for item in found] == [str((work / "run").resolve())]
    (note,) = doctor.orphan_notes(tuple(found))
    assert str(worker.pid) in note.text
    assert not note.stops
    assert note.remedy == f"the next run into {work / 'run'} ends it, or kill -9 {worker.pid}"


@linux
def test_what_is_not_the_process_that_was_noted_is_left(orphan, work):
    """A number that is given again, a clock that is no number, another machine, another start of this one."""
    worker = orphan()
    state = work / "run" / ".run"
    file = state / "workers.json"
    data = json.loads(file.read_text())
    (noted,) = data["workers"]
    changes = {"started": (noted["started"] + 10, math.nan, math.inf), "host": ("other",), "boot": ("other",)}
    for key, values in changes.items():
        for value in values:
            file.write_text(json.dumps({"workers": [{**noted, key: value}]}))
            assert workers.left_over(state) == ()
            assert list(workers.end_left_over(state)) == []
            assert file.exists() == (key != "started")  # what is another machine's is kept for that
    assert worker.status() == "stopped"
    file.write_text(json.dumps(data))
    copied = work / "copy"
    (work / "run").rename(copied)
    assert list(workers.end_left_over(copied / ".run")) == []
    copied.rename(work / "run")
    file.write_text(json.dumps(data))
    assert [why for _, why in workers.end_left_over(state)] == [""]
    assert orphans.ended(worker)


def test_doctor_names_helpers_without_a_parent():
    with ChildProcess("batch.render.predictor", None) as child:
        helper = psutil.Process(child._process.pid)
        assert helper.environ()[orphans.VARIABLE] == f"{os.getpid()}:"
        assert orphans.of(helper) is None
    command = [sys.executable, "-m", "batch.render.predictor"]
    left = subprocess.Popen(command, env={**process_engine(), orphans.VARIABLE: "1:"}, stdin=subprocess.PIPE)
    mine: tuple = ()
    until = time.monotonic() + 10
    while not mine and time.monotonic() < until:  # it has an environment once it has begun
        mine = tuple(item for item in orphans.every() if item.pid == left.pid)
    (note,) = doctor.orphan_notes(mine)
    assert note.text.startswith(
        f"a process of a run or download is still there without its parent: process {left.pid}"
    )
    assert note.remedy == f"end it: kill -9 {left.pid}"
    left.kill()
    left.communicate()


def test_a_run_that_goes_on_keeps_its_worker(manifest, work, cli):
    manifest(REAL)
    run = start()
    until_an_image(run, work / "run")
    state = work / "run" / ".run"
    noted = json.loads((state / "workers.json").read_text())["workers"]
    assert [item["pid"] for item in noted] == [worker.pid for worker in worker_processes(run)]
    assert noted[0]["command"].endswith("run job.yaml --out run")
    assert cli("status", "run", "--json").json()["left_over"] == []
    assert list(workers.end_left_over(state)) == []
    assert run.wait(timeout=60) == 0
    assert not (state / "workers.json").exists()
    assert RunFolder(work / "run").scan().failures == {}


def asleep():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,), daemon=True)
    process.start()
    return process


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
WORKER = [*SLEEP, "--multiprocessing-fork"]


@pytest.fixture
def bystanders(work):
    """Processes by what they carry; all are children of this one."""
    here = (work / "run").resolve()
    carried = {
        "another command": (SLEEP, f"1:{here}"),
        "nothing": (WORKER, None),
        "another folder": (WORKER, f"1:{here}2"),
        "no folder": (WORKER, "1:"),
        "its parent": (WORKER, f"{os.getpid()}:{here}"),
        "a worker": (WORKER, f"1:{here}"),
    }
    found = {}
    for name, (command, value) in carried.items():
        environment = {**os.environ, **({orphans.VARIABLE: value} if value else {})}
        found[name] = subprocess.Popen(command, env=environment)
    yield found
    for process in found.values():
        process.kill()
        process.wait()


def forge(work, pids):
    state = work / "run" / ".run"
    for pid in pids:
        if psutil.pid_exists(pid):
            workers.note(state, pid, 1)
    return state


def test_a_forged_list_of_workers_ends_nobody(work, bystanders):
    """Whoever writes it knows every number and every start, and cannot change what a process carries."""
    guilty, own = bystanders["a worker"], asleep()
    innocent = [own.pid, *(process.pid for name, process in bystanders.items() if name != "a worker")]
    state = forge(work, [1, os.getpid(), os.getppid(), *innocent])
    file = state / "workers.json"
    listed = json.loads(file.read_text())["workers"]
    assert len(listed) == 3 + len(innocent)
    strange = [{**listed[0], "pid": pid} for pid in (None, 0, -1, 2**31, 10**30)]
    file.write_text(json.dumps({"workers": [*listed, *strange]}))
    guilty.kill()
    guilty.wait()
    assert list(workers.end_left_over(state)) == []
    assert not file.exists()
    assert all(process.poll() is None for process in bystanders.values() if process is not guilty)
    assert own.is_alive()
    own.kill()
    own.join()


@pytest.mark.parametrize("known", [True, False], ids=["noted", "not yet noted"])
def test_a_worker_of_the_folder_is_ended_by_what_it_carries(work, bystanders, known):
    """Without its number too, where whoever started it was killed before it could note that."""
    guilty = bystanders.pop("a worker")
    workers.note(work / "run" / ".run", guilty.pid if known else None, 1)
    found = list(workers.end_left_over(work / "run" / ".run"))
    assert [(item.pid, why) for item, why in found] == [(guilty.pid, "")]
    assert guilty.wait() == -signal.SIGKILL
    assert all(process.poll() is None for process in bystanders.values())


@pytest.mark.parametrize("text", ["", "[]", '{"workers": 3}', '{"workers": [{"pid": "1"}]}', "\0" * 100])
def test_a_list_of_workers_that_is_none(work, text):
    state = work / ".run"
    state.mkdir()
    (state / "workers.json").write_text(text)
    assert workers.left_over(state) == ()
    assert list(workers.end_left_over(state)) == []
    workers.note(state, os.getpid(), 1)
    assert len(json.loads((state / "workers.json").read_text())["workers"]) == 1
    workers.forget(state, os.getpid())
    assert list(state.glob("workers.json")) == []


AS_NOBODY = """
import os, sys
from pathlib import Path
from batch.store import workers
workers.left_over(Path(".run"))  # imports what that user may not be able to read
os.setuid(65534)
print([(item.pid, item.user, why) for item, why in workers.end_left_over(Path(".run"))])
"""


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root can become another user")
def test_another_users_worker_is_named_and_left(work, bystanders):
    worker = bystanders["a worker"]
    state = forge(work, [worker.pid, bystanders["another command"].pid, 1])
    state.chmod(0o755)
    (work / "run").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], cwd=work / "run", capture_output=True, text=True, check=True,
        env=process_engine(),
    )  # fmt: skip
    assert done.stdout == f"[({worker.pid}, 'root', 'only its user can end it')]\n"
    assert worker.poll() is None


def test_one_that_cannot_be_ended_is_named(work, bystanders, monkeypatch, cli):
    monkeypatch.setattr(orphans, "GONE_S", 0.1)
    monkeypatch.setattr(psutil.Process, "kill", lambda _: None)  # as in the kernel, which no signal reaches
    worker = bystanders["a worker"]
    state = forge(work, [worker.pid])
    ((found, why),) = workers.end_left_over(state)
    assert found.pid == worker.pid
    assert "hangs in the kernel" in why
    assert [item.pid for item in workers.left_over(state)] == [worker.pid]  # the next run tries again


@linux
@pytest.mark.parametrize(("fault", "undying"), [("hang", "1"), ("busy", "1"), ("locked", "")])
def test_in_native_code_a_worker_ends_with_its_parent(manifest, work, fault, undying):
    """Through its pipe, also without Linux's signal; where no thread can run, by that signal."""
    manifest(REAL)
    run = start(FAKE_FAULT=fault, **({"FAKE_UNDYING": undying} if undying else {}))
    until_an_image(run, work / "run")
    time.sleep(0.5)  # it is at the second by now
    (worker,) = worker_processes(run)
    run.kill()
    run.wait()
    until(lambda: orphans.ended(worker), 10)


@linux
def test_no_other_child_holds_the_parents_end_of_the_pipe(work):
    """Else a worker would wait for that child too."""
    handle = Handle(work / "run" / ".run", None, FakeBackend())
    end = Path(f"/proc/self/fd/{handle._pipe.fileno()}").readlink()
    second = Handle(work / "run" / ".run", None, FakeBackend())
    spawned = asleep()
    plain = subprocess.Popen(SLEEP, close_fds=False)
    for each in (handle, second):
        until(lambda each=each: each.receive() is not None)
    children = psutil.Process().children(recursive=True)
    assert {handle.pid, second.pid, spawned.pid, plain.pid} <= {child.pid for child in children}
    held = {child.pid: [file.readlink() for file in Path(f"/proc/{child.pid}/fd").iterdir()] for child in children}
    assert all(held[pid] for pid in (handle.pid, second.pid, spawned.pid, plain.pid))
    assert [pid for pid, files in held.items() if end in files] == []
    for process in (plain, spawned):
        process.kill()
    plain.wait()
    spawned.join()
    handle.close()
    second.close()
    assert not (work / "run" / ".run" / "workers.json").exists()
