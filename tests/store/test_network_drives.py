"""Run folders on network drives: two hosts on one drive, and what NFS answers that local disks do not.

The drive is a folder with two names. With ``RUN_BATCH_NFS=/mnt/a:/mnt/b``, two mounts of one export by two clients
(``tools/nfs.sh`` makes them), it is a real one as well.
"""

import errno
import io
import json
import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from batch.base import atomic, disk, drives, regular, walk
from batch.base.errors import FolderLocked, FolderLost, UserError
from batch.plan.pins import Pins
from batch.records.live import LiveStatus, RunState
from batch.records.reading import to_json
from batch.records.receipts import Receipt
from batch.store import files, job, lock, orders, signs
from batch.store.folder import RunFolder
from batch.store.orders import AnswerState, Inbox, OrderKind
from batch.store.status import Summary
from tests.conftest import ROOT
from tests.small_receipts import a_receipt, a_task

NFS = os.environ.get("RUN_BATCH_NFS", "")
HOUR_S = 3600.0


@pytest.fixture(
    params=[
        "two names",
        pytest.param("nfs", marks=pytest.mark.skipif(not NFS, reason="no two mounts in RUN_BATCH_NFS")),
    ]
)
def drive(request, tmp_path):
    """One folder as two hosts see it."""
    if request.param == "nfs":
        first, second = (drives_path / tmp_path.name for drives_path in map(type(tmp_path), NFS.split(os.pathsep)))
        first.mkdir()
        drives.look_again(second)
        return first, second
    (tmp_path / "drive").mkdir()
    try:
        (tmp_path / "again").symlink_to("drive", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    return tmp_path / "drive", tmp_path / "again"


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    (tmp_path / "run" / ".run").mkdir(parents=True)
    return RunFolder(tmp_path / "run")


def parts_of(folder):
    return [path.name for path in folder.rglob("*.part")]


# Answers that were lost, and errors that come late


def test_a_rename_whose_answer_was_lost_was_done(tmp_path, monkeypatch):
    real = os.replace

    def lost(source, target):
        real(source, target)
        raise FileNotFoundError(errno.ENOENT, "No such file", str(source))

    monkeypatch.setattr(os, "replace", lost)
    (tmp_path / "x").write_bytes(b"old")
    atomic.write(tmp_path / "x", b"new")
    atomic.move(tmp_path / "x", tmp_path / "there" / "y")
    assert (tmp_path / "there" / "y").read_bytes() == b"new"
    assert not (tmp_path / "x").exists()


def test_a_rename_that_failed_is_not_taken_for_one(tmp_path, monkeypatch):
    """The file that lies there has as many bytes."""

    def swept(source, _target):
        os.unlink(source)  # noqa: PTH108
        raise FileNotFoundError(errno.ENOENT, "No such file", str(source))

    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", swept)
    with pytest.raises(FileNotFoundError):
        atomic.write(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_link_to_nothing_is_moved_as_it_is(tmp_path):
    try:
        (tmp_path / "x").symlink_to("nothing")
    except OSError:
        pytest.skip("no links here")
    atomic.move(tmp_path / "x", tmp_path / "y")
    assert os.readlink(tmp_path / "y") == "nothing"  # noqa: PTH115


def test_a_new_name_whose_answer_was_lost_was_given(tmp_path, monkeypatch):
    real = os.link

    def lost(source, target):
        real(source, target)
        raise FileExistsError(errno.EEXIST, "File exists", str(target))

    monkeypatch.setattr(os, "link", lost)
    atomic.write_new(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not parts_of(tmp_path)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
def test_what_is_there_is_not_written_over(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    atomic.write_new(tmp_path / "x", b"first")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert not parts_of(tmp_path)


def _no_links(_source, target):
    raise PermissionError(errno.EPERM, "Operation not permitted", str(target))


def test_of_many_who_write_one_does(tmp_path):
    barrier, done = threading.Barrier(8), []

    def write(number):
        barrier.wait()
        try:
            atomic.write_new(tmp_path / "x", str(number).encode())
            done.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "x").read_text()] == [str(number) for number in done]


class Late(io.FileIO):
    """A file that could not be written, which shows when it is closed."""

    def close(self):
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("moment", ["sync", "close"])
def test_a_write_that_fails_late_has_failed(tmp_path, monkeypatch, moment):
    (tmp_path / "x").write_bytes(b"old")
    if moment == "close":
        monkeypatch.setattr(atomic, "_create", lambda part: Late(part, "xb"))
    else:
        monkeypatch.setattr(os, "fsync", _raising(errno.ENOSPC))
    with pytest.raises(OSError) as failed:
        atomic.write(tmp_path / "x", b"new", durable=moment == "sync")
    assert disk.is_full(failed.value)
    assert (tmp_path / "x").read_bytes() == b"old"
    assert not parts_of(tmp_path)


def _raising(number):
    def raises(*_arguments):
        raise OSError(number, os.strerror(number))

    return raises


@pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
@pytest.mark.parametrize(("number", "fails"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_folder_that_cannot_be_synced(tmp_path, monkeypatch, number, fails):
    """Some file systems do not know how; where names are lost, that is said."""
    real = os.fsync

    def sync(descriptor):
        if os.path.isdir(f"/dev/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    if fails:
        with pytest.raises(OSError) as failed:
            atomic.write(tmp_path / "x", b"new")
        assert failed.value.errno == number
    else:
        atomic.write(tmp_path / "x", b"new")


@pytest.mark.parametrize("number", [errno.EBADF, getattr(errno, "ESTALE", errno.EBADF)])
def test_a_file_that_was_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch, number):
    (tmp_path / "x").write_bytes(b"new")
    real, calls = os.read, []

    def read(descriptor, count):
        calls.append(count)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    assert regular.read(tmp_path / "x", 100) == b"new"
    calls[:] = []
    monkeypatch.setattr(os, "read", _raising(errno.EIO))
    with pytest.raises(OSError):
        regular.read(tmp_path / "x", 100)


def test_files_that_are_deleted_already_are_none(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (".nfs000000000000000f00000001", "a/.nfs000000000000000f00000002", "a/.x.webp", "b.webp"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in walk.files_below(tmp_path)] == ["b.webp", ".x.webp"]
    assert [path.name for path in walk.files_below(tmp_path, hidden=False)] == ["b.webp"]


# Clocks


def elsewhere(folder, *, now, silent_s=0.0, **more):
    """A holder on another host, on a drive where it is ``now``."""
    path = folder.state / "lock.json"
    said = {"host": "elsewhere", "pid": 1, "since": "then", "command": "run x", "token": "t", "boot": "its"}
    path.write_text(json.dumps(said | more))
    os.utime(path, (now - silent_s, now - silent_s))
    return path


@pytest.mark.parametrize("ahead_s", [-5 * HOUR_S, 0.0, 5 * HOUR_S])
@pytest.mark.parametrize(("silent_s", "lives"), [(signs.SILENT_S / 2, True), (signs.SILENT_S + 5, False)])
def test_what_time_it_is_is_asked_of_the_drive(folder, monkeypatch, ahead_s, silent_s, lives):
    """Whatever this machine's clock says."""
    now = time.time() + ahead_s
    monkeypatch.setattr(signs.drives, "time_at", lambda *_: now)
    monkeypatch.setattr(lock, "SETTLE_S", 0.0)
    elsewhere(folder, now=now, silent_s=silent_s)
    assert (lock.holder(folder.state) is not None) == lives
    if lives:
        with pytest.raises(FolderLocked, match="on elsewhere"), folder.hold():
            pass
    else:
        with folder.hold():
            assert "on elsewhere" in folder.held.note


def test_a_clock_that_is_wrong_here_misjudges_nobody(folder, monkeypatch):
    real = time.time
    elsewhere(folder, now=real())
    monkeypatch.setattr(time, "time", lambda: real() + 3 * HOUR_S)
    assert lock.holder(folder.state)["host"] == "elsewhere"
    monkeypatch.setattr(drives, "time_at", _raising(errno.EROFS))  # who may not write there goes by the own clock
    assert lock.holder(folder.state) is None
    monkeypatch.setattr(time, "time", real)
    assert lock.holder(folder.state)["host"] == "elsewhere"


def test_asking_what_time_it_is_leaves_nothing(tmp_path):
    assert abs(drives.time_at(tmp_path, ".part") - time.time()) < 60
    assert not [*tmp_path.iterdir()]


def summary(now: LiveStatus) -> Summary:
    return Summary(
        name="x", root="x", total=9, done=1, failed=0, missing=8, degraded=0, cut=0, extra=0, running=None,
        seconds_per_image=None, peak_bytes=None, now=now,
    )  # fmt: skip


def test_the_rest_of_a_run_elsewhere_is_by_its_own_clock():
    now = time.time()
    here = LiveStatus(
        state=RunState.RENDERING, name="x", pid=1, host=platform.node(), began=now, updated=now - HOUR_S,
        rest_s=100.0,
    )  # fmt: skip
    assert summary(here).eta_s == 0.0
    assert summary(replace(here, host="elsewhere")).eta_s == 100.0
    assert summary(replace(here, host="elsewhere")).clock == here.updated


# Who holds the folder


def test_a_namesake_elsewhere_is_honoured(folder):
    """Cloned machines have the same name; this one was running already when the other gave signs."""
    if not lock.boot():
        pytest.skip("this system does not name its starts")
    elsewhere(folder, now=time.time(), host=platform.node())
    assert lock.holder(folder.state)["token"] == "t"
    with pytest.raises(FolderLocked), folder.hold():
        pass
    elsewhere(folder, now=psutil.boot_time() - 1, host=platform.node())
    assert lock.holder(folder.state) is None
    with folder.hold():
        assert folder.held.note == "", "this machine, before it was started anew"


def test_a_lock_that_reaches_another_host_tells_of_it(folder):
    """However long its last sign of life has been on the way."""
    with folder.hold():
        elsewhere(folder, now=time.time(), silent_s=HOUR_S)
        assert lock.holder(folder.state)["host"] == "elsewhere"
    assert lock.holder(folder.state) is None


def test_a_holder_that_nobody_has_seen_yet_is_not_written_over(folder, monkeypatch):
    """NFS remembers for a minute that there was none."""
    path = elsewhere(folder, now=time.time())
    before, real, asked = path.read_bytes(), lock._read, []

    def read(state):
        asked.append(state)
        return None if len(asked) == 1 else real(state)

    monkeypatch.setattr(lock, "_read", read)
    monkeypatch.setattr(lock.os.path, "lexists", lambda _path: False)  # nor does it help to look
    with pytest.raises(FolderLocked, match="on elsewhere"), lock.hold(folder.state):
        pass
    assert path.read_bytes() == before


def test_of_two_who_find_a_third_silent_the_last_one_has_it(folder, monkeypatch):
    elsewhere(folder, now=time.time(), silent_s=HOUR_S)
    monkeypatch.setattr(lock.time, "sleep", lambda _s: elsewhere(folder, now=time.time(), host="third"))
    with pytest.raises(FolderLocked, match="on third"), lock.hold(folder.state):
        pass
    assert lock.holder(folder.state)["host"] == "third", "its lock is left to it"


def test_a_worker_on_another_host_goes_by_the_token(folder):
    """Devices and files have other numbers there."""
    with folder.hold():
        there = RunFolder(folder.root, held=replace(folder.held, machine="other", file=(1, 2)))
        there.still_held()
        (folder.state / "lock.json").rename(folder.state / "kept.json")
        there.still_held()
        (folder.state / "lock").rename(folder.state / "kept")
        with pytest.raises(FolderLost, match="removed"):
            there.still_held()
        (folder.state / "kept").rename(folder.state / "lock")
        elsewhere(folder, now=time.time())
        with pytest.raises(FolderLost, match="on elsewhere"):
            there.still_held()


def test_a_drive_that_is_mounted_twice_is_one(folder):
    with folder.hold():
        device, inode = folder.held.file
        there = RunFolder(folder.root, held=replace(folder.held, file=(device + 1, inode)))
        there.still_held()
        (folder.state / "lock.json").unlink()
        with pytest.raises(FolderLost, match="replaced"):
            there.still_held()


def test_a_drive_without_locks_is_refused_with_what_helps(folder, monkeypatch):
    monkeypatch.setattr(lock.FileLock, "acquire", lambda *_, **__: _raising(errno.ENOLCK)())
    with pytest.raises(UserError, match=r"(?i)no locks available.*vers=4"), folder.hold():
        pass


# Two hosts


@contextmanager
def host(name, root, clock_s=0.0):
    """A process on another host that takes the lock when it gets a line; its ends are closed at the end."""
    command = [sys.executable, "-m", "tests.store.other_host", name, str(clock_s), str(root)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def tell(process) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process) -> str:
    tell(process)
    return process.stdout.readline()


def test_another_host_is_refused_until_the_first_is_silent(drive):
    first, second = drive
    with host("host-a", first, 5 * HOUR_S) as a, host("host-b", second, -5 * HOUR_S) as b:
        assert answer(a) == "held \n"
        said = answer(b)
        assert said.startswith("refused")
        assert "on host-a" in said
        a.kill()
        a.wait()
    with host("host-b", second) as b:
        assert "free 120 s after its last sign of life" in answer(b)
    with (first / ".run" / "lock.json").open("rb") as file:
        then = os.fstat(file.fileno()).st_mtime - signs.SILENT_S - 60
    os.utime(first / ".run" / "lock.json", (then, then))
    with host("host-b", second) as b:
        said = answer(b)
        assert said.startswith("held")
        assert "on host-a" in said


def test_of_two_hosts_at_once_one_holds(drive):
    first, second = drive
    for number in range(3):
        with host("host-a", first / str(number)) as a, host("host-b", second / str(number)) as b:
            for process in (a, b):
                tell(process)
            said = sorted(process.stdout.readline().split()[0] for process in (a, b))
        assert said == ["held", "refused"]


def test_what_another_host_wrote_is_seen_at_once(drive):
    """Although it was looked for before, and NFS remembers that it was not there."""
    here, there = (RunFolder(path) for path in drive)
    key = a_task(1).id
    (there.state / "receipts").mkdir(parents=True)
    assert here.receipt(key) is None
    assert here.pins() == Pins()
    files.write(there.receipt_path(key), to_json(a_receipt(a_task(1))), "b")
    assert files.read(Receipt, here.receipt_path(key)).task.id == key
    job.write_pins(there.state, Pins(begun="then"), "b")
    assert here.pins().begun == "then"


def test_orders_and_answers_are_seen_at_once(drive):
    runs, asks = (path / ".run" for path in drive)
    runs.mkdir()
    drives.look_again(asks)
    inbox = Inbox(runs, "t")
    assert inbox.take() == []
    assert orders.answered(asks, "t") is None
    order = orders.give(asks, OrderKind.PAUSE, "t")
    assert [one.kind for one in inbox.take()] == [OrderKind.PAUSE]
    inbox.answer(AnswerState.PAUSED, "paused")
    inbox.done()
    assert not orders.waits(order)
    assert orders.answered(asks, "t")["state"] == "paused"
    orders.clear(runs)
    assert orders.answered(asks, "t") is None


def test_a_file_that_another_host_wrote_anew_is_as_written(drive):
    here, there = (RunFolder(path) for path in drive)
    (here.root / "images").mkdir()
    receipt = a_receipt(a_task(1))
    place, same = (folder.root / receipt.file.path for folder in (here, there))
    atomic.write(place, b"old")
    place.lstat()  # remembered
    atomic.write(same, b"newer")
    file = replace(receipt.file, bytes=5, mtime=same.stat().st_mtime)
    assert here._receipts._is_there(file)
    assert not here._receipts._is_there(replace(file, bytes=6))


@pytest.mark.skipif(not NFS, reason="no two mounts in RUN_BATCH_NFS")
def test_a_full_drive_leaves_the_old_file():
    """NFS says that there is no room when a file is synced or closed."""
    root = RunFolder(type(ROOT)(NFS.split(os.pathsep)[0])).root
    if disk.free(root) > 2**28:
        pytest.skip("the drive has too much room to fill it")
    atomic.write(root / "x", b"old")
    with pytest.raises(OSError), (root / "fill").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    for durable in (True, False):
        with pytest.raises(OSError) as failed:
            atomic.write(root / "x", os.urandom(2**21), durable=durable)
        assert disk.is_full(failed.value)
        assert (root / "x").read_bytes() == b"old"
        assert not parts_of(root)
    (root / "fill").unlink()
