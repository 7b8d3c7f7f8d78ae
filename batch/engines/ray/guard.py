"""Ends the Ray that a run has started, should the run be killed: a process of its own beside them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Wait until whoever asked is gone, then end what is named on stdin and remove its folder."""
    import psutil

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):  # they reach the whole group; whoever asked decides
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    asked = json.loads(sys.stdin.readline())
    os.read(0, 1)
    ended = []
    for pid, started in asked["processes"]:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.create_time() == started:
                ended += [process, *process.children(recursive=True)]
    for process in ended:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(ended, timeout=5)
    shutil.rmtree(Path(asked["folder"]), ignore_errors=True)


if __name__ == "__main__":
    main()
