"""A child process that plans under limits of time and memory. Whatever a manifest holds, it must answer."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

SECONDS = 10
"""For one command, of which most take a hundredth. Beyond them the child shows where it was, and ends."""
MEMORY = 2**30
"""Bytes of address space that reading and planning may take on top of what is imported."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command; ``trace`` is the traceback of what no command may let pass."""

    code: int
    err: str
    trace: str
    seconds: float


class Bounded:
    """Commands, one after the other, each under the limits; a child that has died is replaced."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._child: subprocess.Popen[str] | None = None

    def __call__(self, *arguments: object) -> Answer:
        if self._child is None:
            command = [sys.executable, "-m", "tests.manifest.bounded"]
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
            with self._log.open("w") as log:
                self._child = subprocess.Popen(command, stderr=log, cwd=ROOT, **streams)
        assert self._child.stdin and self._child.stdout
        self._child.stdin.write(json.dumps([str(item) for item in arguments]) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if line:
            return Answer(**json.loads(line))
        code = self._child.wait()
        self.close()
        return Answer(code, "", f"killed with {code}\n{self._log.read_text(errors='replace')}", 0.0)

    def close(self) -> None:
        if self._child is not None:
            self._child.communicate()
            self._child = None


def serve() -> None:
    """The child: a list of arguments a line in, what became of them a line out."""
    from batch.cli.main import main

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        out, err, trace = io.StringIO(), io.StringIO(), ""
        begun = time.perf_counter()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(json.loads(line))
            except BaseException:  # noqa: BLE001 - whatever it is, it is what the test wants to know
                code, trace = -1, traceback.format_exc()[-3000:]
        faulthandler.cancel_dump_traceback_later()
        said = {"code": code, "err": err.getvalue(), "trace": trace, "seconds": time.perf_counter() - begun}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def limit_memory() -> None:
    """Nothing where the system knows no such limit."""
    try:
        import resource
    except ImportError:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY + pages * resource.getpagesize(),) * 2)


if __name__ == "__main__":
    faulthandler.enable()
    # What a first plan imports is not what a manifest takes.
    import batch.run.forecast
    import batch.run.prepare  # noqa: F401

    limit_memory()
    serve()
