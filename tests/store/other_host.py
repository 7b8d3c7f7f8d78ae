"""A runner on another host: a process with a name, a start and a clock of its own.

``python -m tests.store.other_host HOST CLOCK_S FOLDER`` waits for a line, takes the folder's lock, says ``held``
or why not, and keeps it until the next line.
"""

import platform
import sys
import time
from pathlib import Path

from batch.base.errors import FolderLocked
from batch.store import lock


def be(host: str, clock_s: float) -> None:
    """Have this process be another machine."""
    real = time.time
    platform.node = lambda: host
    lock.boot = lambda: f"start of {host}"
    time.time = lambda: real() + clock_s


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(host: str, clock_s: str, folder: str) -> None:
    be(host, float(clock_s))
    say("ready")
    sys.stdin.readline()
    try:
        with lock.hold(Path(folder) / ".run") as held:
            say("held", held.note)
            sys.stdin.readline()
    except FolderLocked as error:
        say("refused", error)


if __name__ == "__main__":
    main(*sys.argv[1:])
