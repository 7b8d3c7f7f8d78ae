"""A child process answers, or it is said how it ended; none outlives whoever asked."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from batch.base.processes import ChildProcess, signal_name
from tests.conftest import ROOT

CHILD = """
import os, sys, time
from batch.base.processes import Parent
parent = Parent()
print("to stderr, not among the answers")
what = parent.request["what"]
if what == "answer":
    parent.tell({"sum": sum(parent.request["numbers"]), "variable": os.environ.get("A"), "pid": os.getpid()})
if what == "noise":
    os.write(1, b"no JSON\\n7\\n\\xff\\n")
    parent.tell({"sum": 0})
if what == "die":
    sys.stderr.write("the last words\\n\\n")
    sys.stderr.flush()
    os._exit(3)
if what == "hang":
    parent.tell({"pid": os.getpid()})
    time.sleep(600)
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    (tmp_path / "answering.py").write_text(CHILD)
    (tmp_path / "json.py").write_text("raise ImportError('of the folder it is started in')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere") + os.pathsep + str(tmp_path / "modules"))
    (tmp_path / "modules").mkdir()
    (tmp_path / "answering.py").rename(tmp_path / "modules" / "answering.py")
    monkeypatch.chdir(tmp_path)

    def start(what, variables=None, **more):
        return ChildProcess("answering", {"what": what, **more}, variables or {})

    return start


def test_it_is_asked_and_answers(ask, monkeypatch):
    monkeypatch.setenv("A", "outside")
    for variables, seen in (({}, "outside"), ({"A": "inside"}, "inside"), ({"A": None}, None)):
        with ask("answer", variables, numbers=[1] * 100_000) as child:  # more than a pipe holds
            said = child.answer(60)
            assert (said["sum"], said["variable"]) == (100_000, seen)
            assert child.answer(60) is None
            assert child.code() == 0
        assert not psutil.pid_exists(said["pid"])


def test_noise_is_no_answer(ask):
    with ask("noise") as child:
        assert child.answer(60) == {"sum": 0}
        assert child.answer(60) is None


def test_how_it_ended_and_what_it_said_last(ask):
    with ask("die") as child:
        assert child.answer(60) is None
        assert (child.code(), child.last_words()) == (3, "the last words")


def test_one_that_hangs_is_ended(ask):
    with ask("hang") as child:
        pid = child.answer(60)["pid"]
        with pytest.raises(TimeoutError):
            child.answer(0.01)
        with pytest.raises(TimeoutError):
            child.answer(-1)
    assert not psutil.pid_exists(pid)


def test_it_ends_with_whoever_asked(ask):
    code = (
        "import sys, time; from batch.base.processes import ChildProcess\n"
        "child = ChildProcess('answering', {'what': 'hang'}); print(child.answer(60)['pid'], flush=True)\n"
        "time.sleep(600)"
    )
    paths = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(os.name == "nt", reason="no process is ended by a signal there")
def test_names_of_signals():
    assert [signal_name(code) for code in (-9, -15, 0, 3, -9999)] == ["SIGKILL", "SIGTERM", "", "", ""]
