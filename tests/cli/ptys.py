"""A command as a process of its own on a terminal of 80 columns."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import threading
from pathlib import Path

from tests.helpers import RUN_BATCH

COLUMNS = 80
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What a terminal obeys."""


def on_terminal(*arguments: str, columns: int = COLUMNS, keys: bytes = b"", **variables: str) -> str:
    """All that a command writes to its terminal."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | variables
    command = [*RUN_BATCH, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=Path.cwd()
    )
    late = threading.Timer(60, process.kill)
    late.start()
    os.close(theirs)
    os.write(ours, keys)
    written = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        written += more
    process.wait()
    late.cancel()
    os.close(ours)
    return written.decode()


def lines(written: str) -> list[str]:
    """What was written, without colours."""
    return CODES.sub("", written).replace("\r\n", "\n").splitlines()
