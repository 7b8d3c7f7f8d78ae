"""A run as a process of its own that is signalled and ordered about, and what must hold when all is over."""

import os
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from batch.base import atomic
from batch.store import events
from batch.store.folder import RunFolder
from batch.upkeep.verify import verify
from tests.engines.nights import FAKE_RUN, process_engine
from tests.helpers import RUN_BATCH, Seen, fake_run, receipts_of

JOB = "name: job\ngrid: {model: demo, prompt: a, seed: 0..3, steps: 3, size: 512x512}\nrun: {min_free_disk: 1MB}\n"
LONG = JOB.replace("0..3", "0..29")

POSIX = pytest.mark.skipif(os.name == "nt", reason="no signals to other processes")


@contextmanager
def started(*options, slow=""):
    """The job, with a stage that is slow once; nothing of it is left afterwards."""
    Path("memo").mkdir(exist_ok=True)
    run = subprocess.Popen(
        [*FAKE_RUN, *options],
        env={**process_engine(), "FAKE_SLOW": slow, "RUN_BATCH_CACHE": str(Path("cache").resolve())},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=os.name != "nt",
    )
    try:
        yield run
    finally:
        with suppress(psutil.NoSuchProcess):
            for process in [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        run.communicate()


def until(fits, run, seconds=30.0):
    """Wait for something that a run does."""
    end = time.monotonic() + seconds
    while not fits():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def until_slow(run):
    """Wait until the slow stage is at work."""
    until(lambda: any(Path("memo").iterdir()), run)
    time.sleep(0.25)  # the beat that was sent before it arrives


def waiting(*command):
    """A command that waits, as another terminal would have it."""
    return subprocess.Popen(
        [*RUN_BATCH, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=process_engine()
    )


def done_some():
    return any(Path("run/.run").glob("receipts/*/*.json"))


def happened(kind):
    """What a run has logged of a kind."""
    return [item for item in events.read(RunFolder(Path("run"))) if item.kind == kind]


def children(run):
    return psutil.Process(run.pid).children(recursive=True)


def done(folder="run"):
    return len(receipts_of(folder))


def goes_on(path, images=4):
    """The same command, undisturbed: what was done stays done, and all is whole. How many it rendered."""
    before = {item.task.id: item for item in receipts_of("run")}
    result = fake_run(path, seen=Seen(), out=Path("run"))
    after = {item.task.id: item for item in receipts_of("run")}
    assert (result.done, result.failed, result.stopped) == (images, 0, None)
    assert result.rendered == images - len(before)
    assert {key: after[key] for key in before} == before
    assert {item.attempts for item in after.values()} == {1}
    folder = RunFolder(Path("run"))
    assert verify(folder.root, lambda _done, _total: None).ok
    assert len(list(folder.image_files())) == images
    assert list(folder.root.rglob(f"*{atomic.TEMP_SUFFIX}")) == []
    assert not (folder.state / "orders").exists()
    return result.rendered
