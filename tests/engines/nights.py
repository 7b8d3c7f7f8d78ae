"""A night that nobody watches: its job, what it told, and the command line as a process to be killed."""

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field

import psutil

from batch.base import atomic
from batch.run.options import Result
from batch.store.folder import RunFolder
from tests.conftest import ROOT
from tests.helpers import RUN_BATCH, Seen, hashes, receipts_of

JOB = """\
name: night
grid: {model: demo-1k, prompt: [a, b], seed: 0..2, steps: 2, size: 1344x768}
run: {min_free_disk: 1MB}
output: {format: webp}
"""


@dataclass
class Night:
    result: Result
    seen: Seen
    seconds: float
    folder: RunFolder = field(init=False)

    def __post_init__(self):
        self.folder = RunFolder(self.result.folder)

    def receipts(self):
        return receipts_of(self.folder.root)

    def hashes(self):
        return hashes(self.folder.root)

    def failures(self):
        return self.folder.scan().failures

    def parts(self):
        return list(self.folder.root.rglob(f"*{atomic.TEMP_SUFFIX}"))


def undisturbed(night):
    return night(out="undisturbed").hashes()


def worker_processes(run):
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(child.cmdline()):
                    yield child


RUN = [*RUN_BATCH, "run", "job.yaml", "--out", "run"]
FAKE_RUN = [sys.executable, "-m", "tests.fake_main", *RUN[2:]]
"""With the stand-in session, whose worker loads no torch."""
REAL = "name: job\ngrid: {model: demo, prompt: [a, b, c], seed: 0..2, steps: 3, size: 512x512}\n"


def process_engine():
    return {**os.environ, "RUN_BATCH_ENGINE": "process", "PYTHONPATH": str(ROOT)}


def until_an_image(run, folder):
    """Wait until a run that goes on has its first image."""
    while not list((folder / ".run").glob("receipts/*/*.json")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.02)
