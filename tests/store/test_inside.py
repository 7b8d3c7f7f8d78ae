"""A run folder from someone else: nothing is followed out of it, and logs are that file and no other."""

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batch.base import atomic
from batch.base.errors import ForeignFolder
from batch.store import inside
from batch.store.events import EventLog, read
from batch.store.folder import RunFolder
from tests.engines.nights import FAKE_RUN, process_engine
from tests.helpers import happen, hashes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "run" / ".run").mkdir(parents=True)
    (tmp_path / "outside").write_text("of someone else\n")
    return RunFolder(tmp_path / "run")


def test_the_run_folder_itself_may_be_a_link(cli, manifest, work):
    for name in ("disk/night", "disk2/outputs"):
        (work / name).mkdir(parents=True)
    (work / "run").symlink_to("disk/night")
    (work / "outputs").symlink_to("disk2/outputs")
    for out in ("run", "outputs/night"):
        assert cli("run", manifest(), "--out", out, "--quiet").code == 0
        assert cli("status", out, "--json").json()["done"] == 4
        assert cli("verify", out).code == 0


def test_a_link_to_another_disk_is_told_what_would_be_right(cli, manifest, work):
    (work / "disk").mkdir()
    (work / "run").mkdir()
    (work / "run" / "images").symlink_to(work / "disk")
    refused = cli("run", manifest(), "--out", "run")
    assert refused.code == 3
    assert "run/images is a link" in refused.err and "make the run folder as a whole a link" in refused.err
    assert list((work / "disk").iterdir()) == []


def test_links_below_images_are_refused_and_files_are_not(folder):
    below = folder.images / "a" / "b"
    below.mkdir(parents=True)
    (below / "picture.png").symlink_to(folder.root.parent / "outside")
    inside.check(folder.root)
    (below / "gone").symlink_to(folder.root.parent / "nothing")
    with pytest.raises(ForeignFolder, match="a/b/gone is a link"):
        inside.check(folder.root)


def test_a_lock_with_a_second_name_is_not_emptied(folder):
    (folder.state / "lock").hardlink_to(folder.root.parent / "outside")
    with pytest.raises(ForeignFolder, match="second name"):
        inside.check(folder.root)


def test_what_a_user_keeps_beside_it_is_not_looked_at(folder):
    (folder.root / "notes").symlink_to("/")
    (folder.root / "results.csv.bak").mkdir()
    (folder.state / "@eaDir").mkdir()  # a file server's
    (folder.state / "later").write_text("of a newer version")
    inside.check(folder.root)


def test_temp_files_elsewhere_and_of_others_are_not_swept(folder):
    elsewhere = folder.root.parent / "elsewhere"
    elsewhere.mkdir()
    (folder.root / "notes").symlink_to(elsewhere)
    theirs = [elsewhere / ".0123456789ab.host-1.part", folder.root / ".video.part"]
    ours = folder.root / ".0123456789ab.host-1.part"
    for path in (*theirs, ours):
        path.write_bytes(b"")
    assert folder.sweep() == 1
    assert all(path.exists() for path in theirs)


@pytest.mark.parametrize("empty", [False, True])
def test_a_log_with_a_second_name_is_replaced_by_a_copy(folder, empty):
    log, outside = folder.state / "worker.log", folder.root.parent / "outside"
    log.hardlink_to(outside)
    with atomic.open_own(log, empty=empty) as file:
        file.write(b"more\n")
    assert outside.read_text() == "of someone else\n"
    assert log.read_text() == ("" if empty else "of someone else\n") + "more\n"


def test_the_history_goes_on_where_it_has_a_second_name(folder):
    """As in a folder that was copied with hard links."""
    EventLog(folder).write(happen("before"))
    backup = folder.root.parent / "backup"
    backup.hardlink_to(folder.state / "events.jsonl")
    EventLog(folder).write(happen("after"))
    assert [event.text for event in read(folder)] == ["before", "after"]
    assert "after" not in backup.read_text()


@pytest.mark.parametrize("kind", ["link", "dangling", "loop", "pipe", "folder"])
def test_a_log_is_a_file_of_its_own(folder, kind):
    log, outside = folder.state / "events.jsonl", folder.root.parent / "outside"
    makes = {
        "link": lambda: log.symlink_to(outside),
        "dangling": lambda: log.symlink_to(folder.root.parent / "nothing"),
        "loop": lambda: log.symlink_to(log),
        "pipe": lambda: os.mkfifo(log),
        "folder": log.mkdir,
    }
    makes[kind]()
    with pytest.raises(OSError, match=r"events\.jsonl"):
        atomic.open_own(log, empty=True)
    EventLog(folder).write(happen("nobody hears it"))
    assert outside.read_text() == "of someone else\n"
    assert not (folder.root.parent / "nothing").exists()


def test_a_worker_writes_its_logs_into_its_folder(manifest, work):
    """The second run finds the logs of the first with second names elsewhere."""
    job = "name: job\ngrid: {model: demo, prompt: a, seed: 0..%d, steps: 1, size: 512x512}\n"
    for last in (0, 1):
        manifest(job % last)
        assert subprocess.run(FAKE_RUN, env=process_engine(), capture_output=True, check=False).returncode == 0
        for name in ("worker.log", "stacks.txt"):
            if last == 0:
                log = work / "run" / ".run" / name
                log.write_text("of the first")
                (work / name).hardlink_to(log)
    assert {(work / name).read_text() for name in ("worker.log", "stacks.txt")} == {"of the first"}
    assert len(RunFolder(work / "run").scan().receipts) == 2


@contextlib.contextmanager
def bound_by_permissions():
    """Root obeys the bits of files too: it lays down that right for this thread, and those begun in it."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if not hasattr(libc, "capget") or libc.capget(header, rights):
        pytest.skip("root cannot be bound by permissions here")
    before, dac = rights[0], 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    try:
        rights[0] = before & ~dac
        assert libc.capset(header, rights) == 0
        yield
    finally:
        rights[0] = before
        libc.capset(header, rights)


@pytest.mark.parametrize("mode", [0o000, 0o500], ids=oct)
@pytest.mark.parametrize(
    "name", ["", ".run", ".run/receipts", "images", "thumbs", ".run/tasks.jsonl", ".run/format.json", ".run/lock"]
)
def test_what_may_not_be_read_or_written_is_said(cli, manifest, name, mode):
    path = manifest()
    path.chmod(0o000)
    with bound_by_permissions():
        assert cli("run", "job.yaml").code == 2  # else permissions bind nobody
        path.chmod(0o600)
        first = cli("run", "job.yaml", "--out", "run", "--set", "seed=0", "--quiet")
        assert first.code == 0, first.err
        images = hashes("run")
        Path("run", name).chmod(mode)
        commands = (
            ("run", "job.yaml", "--out", "run"), ("plan", "job.yaml", "--out", "run"), ("status", "run"),
            ("report", "run"), ("verify", "run"), ("compare", "run"), ("prune", "run"),
            ("manifest", "from", "run"),
        )  # fmt: skip
        said = {command: cli(*command) for command in commands}
        Path("run", name).chmod(0o700)
        assert images.items() <= hashes("run").items()
    wrong = {
        command: (done.code, done.err)
        for command, done in said.items()
        if done.code not in {0, 1, 2, 3} or "[Errno" in done.err or (done.code > 1 and "ermission" not in done.err)
    }
    assert wrong == {}
