"""One attempt at a download: a child process, watched, and ended when nothing moves any more."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from batch.base import errors
from batch.base.errors import Interrupted
from batch.hub import cache

TICK_S = 0.2
INTERRUPTED = "interrupted while a model was downloaded. Nothing is lost: files that are complete are kept"
IMPORT_S = 120.0
"""A cold, slow disk takes that long to import the client; nothing moves meanwhile."""


@dataclass(slots=True)
class _Pulse:
    """When something moved last: what the client says, or what lies on the disk."""

    repo: str
    patience: float
    at: float = field(default_factory=time.monotonic)
    _looked: float = 0.0
    _disk: tuple[int, int] = (0, 0)

    def beat(self) -> None:
        self.at = time.monotonic()

    def stopped(self) -> bool:
        """Whether nothing has moved for too long. Xet's folder may be large: it is looked at now and then."""
        now = time.monotonic()
        if now - self._looked >= self.patience / 4:
            self._looked, disk = now, cache.written(self.repo)
            if disk != self._disk:
                self._disk = disk
                self.beat()
        return now - self.at > self.patience


def attempt(
    request: Mapping[str, Any],
    *,
    xet: bool,
    patience: float,
    received: Callable[[int], None],
    stop: Event | None,
) -> str:
    """Download once; "" when it is done, else why it failed, in words.

    ``patience`` is how many seconds may pass while nothing moves. ``received`` is told how many bytes
    have come. Raises the :class:`~batch.base.errors.UserError` that no other attempt would change, and
    :class:`Interrupted` when ``stop`` is set.
    """
    child = _start(request, xet=xet)
    try:
        return _watch(child, request, patience, received, stop)
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):  # the request could not be written: the child was dead already
                    stream.close()


def _start(request: Mapping[str, Any], *, xet: bool) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    for name in cache.empty_places():
        del environment[name]
    if not xet:
        environment["HF_HUB_DISABLE_XET"] = "1"
    child = subprocess.Popen(
        # -P: the folder it is started in must not be searched for modules.
        [sys.executable, "-P", "-m", "batch.hub.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        encoding="utf-8",
    )
    try:
        assert child.stdin is not None
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    except OSError:
        pass  # it is dead, which _watch finds
    return child


def _watch(
    child: subprocess.Popen[str],
    request: Mapping[str, Any],
    patience: float,
    received: Callable[[int], None],
    stop: Event | None,
) -> str:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(child, lines), daemon=True).start()
    pulse = _Pulse(request["repo"], max(patience, IMPORT_S))
    while True:
        if stop is not None and stop.is_set():
            raise Interrupted(INTERRUPTED)
        try:
            line = lines.get(timeout=TICK_S)
        except queue.Empty:
            if pulse.stopped():
                return f"stalled for {pulse.patience:g} s"
            continue
        if line is None:
            return f"ended with code {child.wait()}"
        said = _understood(line)
        pulse.beat()
        if said.get("ready"):
            pulse.patience = patience
        # Over Xet the network is ahead of the disk by whole blocks of up to 64 MB, several at a time.
        received(int(max(said.get("disk", 0), said.get("network", 0))))
        if "end" in said:
            return _end(said)


def _listen(child: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    assert child.stdout is not None
    try:
        for line in child.stdout:
            lines.put(line)
    except (OSError, ValueError):
        pass  # closed meanwhile
    lines.put(None)


def _understood(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _end(said: Mapping[str, Any]) -> str:
    if said["end"] == "refused":
        raise getattr(errors, said["kind"])(said["why"])
    return "" if said["end"] == "done" else f"failed: {said['why']}"
