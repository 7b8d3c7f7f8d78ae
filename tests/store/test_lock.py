"""Who holds a run folder: its lock by any name, one that is lost on the way, and holders on other hosts."""

import json
import os
import time

import pytest

from batch.base.errors import FolderLocked, FolderLost
from batch.store import lock
from batch.store.folder import RunFolder


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "run" / ".run").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def elsewhere(folder, *, silent_s=0.0):
    """A holder on another host, whose lock the kernel here knows nothing of."""
    path = folder.state / "lock.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "then", "command": "run x", "token": "t"}))
    then = time.time() - silent_s
    os.utime(path, (then, then))
    return path


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
        (folder.state / "lock.json").write_bytes(b"\0")
        folder.still_held()


def test_a_holder_on_another_host_is_honoured(folder):
    path = elsewhere(folder, silent_s=lock.SILENT_S / 2)
    with pytest.raises(FolderLocked, match="on elsewhere"), folder.hold():
        pass
    assert lock.holder(folder.state)["host"] == "elsewhere"
    assert json.loads(path.read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("silent_s", [lock.SILENT_S + 5, -lock.SILENT_S - 5], ids=["silent", "clock"])
def test_a_silent_holder_on_another_host_is_gone(folder, silent_s):
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


def test_a_holder_gives_signs_of_life(folder, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.01)
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
