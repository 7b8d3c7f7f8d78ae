"""Child processes: one that answers in JSON, seen from both sides, and what any program prints last.

A :class:`ChildProcess` runs a module of this package. The first line on its stdin is the request, every line on
its stdout an answer. When its stdin ends, whoever asked is gone, and so is the child.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self

from batch.base import orphans

Answer = dict[str, Any]
"""A JSON object."""

_PACKAGES = str(Path(__file__).resolve().parents[2])
"""The folder where the package lies."""


class ChildProcess:
    """A module of this package in a process of its own, asked one thing; a context that ends it.

    ``variables`` are added to its environment; None removes one.
    """

    def __init__(
        self, module: str, request: object, variables: Mapping[str, str | None] = MappingProxyType({})
    ) -> None:
        paths = [_PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
        environment[orphans.VARIABLE] = orphans.mark()
        self._process = subprocess.Popen(
            # -P: the folder it is started in must not be searched for modules.
            [sys.executable, "-P", "-W", "ignore", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in environment.items() if value is not None},
            encoding="utf-8",
            errors="replace",
        )
        self._words = Tail(self._process.stderr)
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        threading.Thread(target=self._talk, args=(json.dumps(request),), daemon=True, name=module).start()

    def answer(self, seconds: float) -> Answer | None:
        """The next one; None when there is none left. Raises TimeoutError where none comes in so many seconds."""
        try:
            return self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise TimeoutError from None

    def code(self) -> int:
        """How it ended, which is waited for."""
        return self._process.wait()

    def last_words(self) -> str:
        """The last line of what it printed besides; "" where it has printed nothing."""
        return self._words.last_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # the request could not be written: it was dead already
                    stream.close()

    def _talk(self, request: str) -> None:
        """Ask, which waits for as long as the child imports, and listen."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError, ValueError):  # it is dead, or has said all without listening
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        with suppress(OSError, ValueError):  # closed meanwhile
            for line in self._process.stdout:
                with suppress(ValueError):  # what a library has printed is no answer
                    if isinstance(said := json.loads(line), dict):
                        self._answers.put(said)
        self._answers.put(None)


class Parent:
    """Whoever asks, as the :class:`ChildProcess` sees it: from now on the two end together.

    What libraries print goes to stderr.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
        self.request: Any = json.loads(sys.stdin.readline())
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._lock = threading.Lock()
        sys.stdout = sys.stderr
        threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(self, answer: Mapping[str, object]) -> None:
        """One answer, whole whichever thread gives it."""
        with self._lock:
            self._out.write(json.dumps(answer) + "\n")
            self._out.flush()


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


class Tail:
    """The end of what a program prints: some print megabytes."""

    def __init__(self, stream: IO[bytes] | IO[str] | None) -> None:
        self._stream = stream
        self._kept = b""
        self._thread = threading.Thread(target=self._read, daemon=True, name="last words")
        self._thread.start()

    def _read(self) -> None:
        if self._stream is not None:
            with suppress(OSError), self._stream:
                while data := os.read(self._stream.fileno(), 65_536):
                    self._kept = (self._kept + data)[-4096:]

    def last_line(self) -> str:
        """Of what is there; a child of the program may keep the stream open."""
        self._thread.join(1.0)
        return next(reversed(self._kept.decode(errors="replace").strip().splitlines()), "")


def signal_name(code: int) -> str:
    """``SIGKILL`` of the exit code -9; "" where no signal ended a process, or none that has a name."""
    with suppress(ValueError):
        return signal.Signals(-code).name
    return ""
