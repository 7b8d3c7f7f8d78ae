"""Ends a command that would outlive whoever started it, or its time: a process of its own beside the command.

Whoever started the command may be killed, or stopped, in the middle of waiting for it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from batch.base.processes import ChildProcess

if TYPE_CHECKING:
    import psutil

_LATER_S = 1.0
"""So much later than whoever waits for the command, who can say why it was ended."""


def guarded(pid: int, seconds: float) -> ChildProcess:
    """Watch over a command until the context is left: it ends when this process does, or in so many seconds."""
    return ChildProcess("batch.run.guard", {"pid": pid, "seconds": seconds + _LATER_S})


def end(process: psutil.Process) -> None:
    """Kill a command with all that it has started, which would go on by itself."""
    import psutil

    found = [process]
    for one in found:  # it grows
        with suppress(psutil.Error):
            one.suspend()  # or it could start another after the look
            found += one.children()
    for one in found:
        with suppress(psutil.Error):
            one.kill()


def main() -> None:
    """Watch over the command that is named on stdin, whose end says that whoever asked is gone."""
    import psutil

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):  # they reach the whole group; whoever asked decides
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if not (line := sys.stdin.readline()):
        return
    asked = json.loads(line)
    with suppress(psutil.NoSuchProcess):
        command, alone = psutil.Process(asked["pid"]), Event()

        def listen() -> None:
            os.read(0, 1)
            alone.set()

        Thread(target=listen, daemon=True).start()
        alone.wait(asked["seconds"])
        end(command)


if __name__ == "__main__":
    main()
