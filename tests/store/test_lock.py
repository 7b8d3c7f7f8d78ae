"""Who holds a run folder: its lock by any name, one that is lost on the way, and holders on other hosts."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import psutil
import pytest

from batch.base.errors import FolderLocked, FolderLost
from batch.store import lock, signs
from batch.store.folder import RunFolder

if os.name != "nt":
    import fcntl


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "run" / ".run").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def elsewhere(folder, *, silent_s=0.0):
    """A holder on another host, whose lock the kernel here knows nothing of."""
    path, new = folder.state / "lock.json", folder.state / "new"
    new.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then", "command": "run x", "token": "t"}))
    then = time.time() - silent_s
    os.utime(new, (then, then))
    return new.replace(path)  # as holders write it: what is half written may be taken for spoilt


def test_a_lock_that_is_deleted_is_lost(folder):
    with folder.hold():
        folder.still_held()
        (folder.state / "lock").unlink()
        with pytest.raises(FolderLost, match="removed"):
            folder.still_held()


def test_a_lock_that_is_another_file_is_lost(folder):
    with folder.hold():
        (folder.state / "other").write_bytes(b"")
        (folder.state / "other").replace(folder.state / "lock")
        with pytest.raises(FolderLost, match="replaced"):
            folder.still_held()


def test_a_folder_that_is_deleted_is_lost(folder):
    with folder.hold():
        folder.state.rename(folder.root.parent / "moved")
        with pytest.raises(FolderLost, match="removed"):
            folder.still_held()


def test_of_a_run_folder_that_is_gone_nothing_is_said_to_be_there(folder):
    with folder.hold():
        shutil.rmtree(folder.root)
        with pytest.raises(FolderLost, match="is gone, and with it all"):
            folder.still_held()


def test_a_lock_that_another_took_is_left_to_it(folder):
    """The first one goes without a trace: neither the second's name nor its lock is removed."""
    second = RunFolder(folder.root)
    with folder.hold():
        (folder.state / "lock").unlink()
        taken = second.hold()
        taken.__enter__()
        with pytest.raises(FolderLost, match=f"(?s)taken by another runner: process {os.getpid()} on"):
            folder.still_held()
    second.still_held()
    with pytest.raises(FolderLocked), lock.hold(folder.state):
        pass
    taken.__exit__(None, None, None)
    assert lock.holder(folder.state) is None


def test_without_inodes_the_token_decides(folder, monkeypatch):
    monkeypatch.setattr(lock, "_identity", lambda _state: None)
    with folder.hold():
        folder.still_held()
        elsewhere(folder)
        with pytest.raises(FolderLost, match="on elsewhere"):
            folder.still_held()
    assert lock.holder(folder.state)["host"] == "elsewhere"


def test_a_lock_json_that_is_gone_loses_nothing(folder):
    with folder.hold():
        (folder.state / "lock.json").unlink()
        folder.still_held()
        assert folder.running()[0].holder["pid"] == 0
        (folder.state / "lock.json").write_bytes(b"\0")
        folder.still_held()
        with pytest.raises(FolderLocked, match="has just started; try again in a moment"), folder.hold():
            pass
    assert folder.running() == []


def test_a_lock_json_that_is_gone_comes_again(folder, monkeypatch):
    monkeypatch.setattr(signs, "BEAT_S", 0.01)
    path = folder.state / "lock.json"
    with folder.hold():
        before = path.read_bytes()
        for spoil in (path.unlink, lambda: path.write_bytes(b"{")):
            spoil()
            until = time.monotonic() + 10
            while not (path.exists() and path.read_bytes() == before):
                assert time.monotonic() < until
                time.sleep(0.01)
    assert not path.exists()


def test_a_holder_on_another_host_is_honoured(folder):
    path = elsewhere(folder, silent_s=signs.SILENT_S / 2)
    with pytest.raises(FolderLocked, match="on elsewhere"), folder.hold():
        pass
    assert lock.holder(folder.state)["host"] == "elsewhere"
    assert json.loads(path.read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("silent_s", [signs.SILENT_S + 5, -signs.SILENT_S - 5], ids=["silent", "clock"])
def test_a_silent_holder_on_another_host_is_gone(folder, monkeypatch, silent_s):
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    elsewhere(folder, silent_s=silent_s)
    assert lock.holder(folder.state) is None
    with folder.hold():
        assert "elsewhere, started then" in folder.held.note


def test_a_container_of_this_machine_blocks_nobody(folder):
    """Its host is another, but the kernel is the same, and would say that it lives."""
    path = elsewhere(folder)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": lock.boot() or "none"}))
    if not lock.boot():
        pytest.skip("this system does not name its starts")
    with folder.hold():
        assert folder.held.note == ""


def left_by_a_killed_run(folder, **more):
    """What a run leaves when it is killed, whose number is this process's now."""
    with folder.hold():
        said = json.loads((folder.state / "lock.json").read_text())
    (folder.state / "lock.json").write_text(json.dumps(said | more))


def test_a_killed_run_whose_number_lives_again_is_gone(folder):
    left_by_a_killed_run(folder)
    assert lock.holder(folder.state) is None


def test_a_copied_folder_is_not_running(folder, tmp_path):
    with folder.hold():
        shutil.copytree(folder.root, tmp_path / "copy")
        assert lock.holder(tmp_path / "copy" / ".run") is None
        assert lock.holder(folder.state)["pid"] == os.getpid()


def test_a_container_of_this_machine_holds_by_the_kernel(folder):
    """Its host and its process numbers are its own."""
    if not lock.boot():
        pytest.skip("this system does not name its starts")
    with folder.hold():
        path = folder.state / "lock.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere", "pid": 2**22 + 1}))
        os.utime(path, (0, 0))
        assert lock.holder(folder.state)["host"] == "elsewhere"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"token": "of the run before"}))
    assert lock.holder(folder.state) is None


@pytest.mark.parametrize(
    ("more", "lives"),
    [({}, True), ({"started": 1e9}, False), ({"boot": "another"}, False), ({"pid": 2**70}, False)],
    ids=["same", "later process", "machine was restarted", "no number"],
)
def test_where_the_lock_says_nothing_the_process_counts(folder, more, lives):
    """As on a drive without locks; here its file is gone."""
    left_by_a_killed_run(folder, **more)
    (folder.state / "lock").unlink()
    if "boot" in more:
        os.utime(folder.state / "lock.json", (0, 0))
    assert (lock.holder(folder.state) is not None) == lives


@pytest.mark.skipif(os.name == "nt", reason="no zombies there")
def test_a_zombie_holds_nothing(folder):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        left_by_a_killed_run(folder, pid=child.pid, started=psutil.Process(child.pid).create_time())
        (folder.state / "lock").unlink()
        assert lock.holder(folder.state) is None


@pytest.mark.skipif(os.name == "nt", reason="there the lock is asked by taking it")
def test_a_runner_waits_for_who_only_asks(folder):
    """Asking takes a shared lock for a moment, and writes nothing: whoever asks may not be allowed to."""
    left_by_a_killed_run(folder)
    before = (folder.state / "lock").stat().st_mtime_ns
    asks = (folder.state / "lock").open("rb")
    fcntl.flock(asks, fcntl.LOCK_SH)
    assert lock.holder(folder.state) is None
    threading.Timer(0.1, asks.close).start()
    with folder.hold():
        assert lock.holder(folder.state)["pid"] == os.getpid()
    assert (folder.state / "lock").stat().st_mtime_ns == before


def test_a_holder_gives_signs_of_life(folder, monkeypatch):
    monkeypatch.setattr(signs, "BEAT_S", 0.01)
    path = folder.state / "lock.json"
    with folder.hold():
        os.utime(path, (0, 0))
        until = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 60
        elsewhere(folder, silent_s=1000)
        time.sleep(0.1)
        assert time.time() - path.stat().st_mtime > 900, "another's sign of life"


def test_a_sweep_leaves_what_others_are_writing(folder):
    """As of whoever took the folder meanwhile."""
    ours, theirs = (folder.root / f".0123456789ab.{runner}.part" for runner in ("any", "host-7"))
    for path in (ours, theirs):
        path.write_bytes(b"")
    assert folder.sweep(own=True) == 1
    assert theirs.exists()
    assert folder.sweep() == 1
