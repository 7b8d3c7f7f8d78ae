"""The process that downloads: one repository at one commit, then it ends.

The Hub's client reads its variables when it is imported, and its fast path can hang where no exception and no
signal reaches it, so a download is a process that can be given other variables and be killed. Its first line on
stdin is the request as JSON; it answers in JSON, a line each: what was received so far, and how it ended. When
stdin ends, the process that wants the download is gone, and so is this one.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
import threading
import time
from typing import Any, TextIO

from batch.base.errors import DownloadError, UserError
from batch.hub.refusals import reason, refusal

EVERY_S = 0.2

PLAIN_BYTES = 2**18
"""The client reads plain HTTP in pieces of that size, instead of 10 MiB. Before a piece is whole it says nothing
and writes nothing: eight files at once over a line of 1 MB/s would look like a stall for more than a minute."""


class _Voice:
    """Says how far the download is, not at every step of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.RLock()
        self._last = 0.0
        self._received: dict[str, float] = {}

    def say(self, **data: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(data) + "\n")
            self._out.flush()

    def received(self, what: str, count: float) -> None:
        """Bytes came from the network, or reached the disk."""
        with self._lock:  # files are downloaded at the same time
            self._received[what] = self._received.get(what, 0.0) + count
            now = time.monotonic()
            if now - self._last >= EVERY_S:
                self._last = now
                self.say(**self._received)


def main() -> None:
    """Read the request, download, say how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    request = json.loads(sys.stdin.readline())
    voice = _Voice(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        voice.say(**_download(request, voice))
    except Exception as error:  # noqa: BLE001 - whatever the client raises, the parent decides what comes next
        voice.say(**_failed(error, request))
    os._exit(0)  # the client's threads may still be at it


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _download(request: dict[str, Any], voice: _Voice) -> dict[str, Any]:
    from huggingface_hub import constants, snapshot_download
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        """The client's progress without a terminal."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **{**named, "disable": True})
            self._counts = str(named.get("desc") or "") if named.get("unit") == "B" else ""

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts and n:
                voice.received("network" if self._counts.startswith("Downloading") else "disk", n)
            return None

    constants.DOWNLOAD_CHUNK_SIZE = PLAIN_BYTES
    voice.say(ready=True)
    snapshot_download(
        request["repo"],
        # The commit, not a branch: what was looked up is what is downloaded.
        revision=request["commit"],
        cache_dir=request["cache"],
        allow_patterns=[glob.escape(name) for name in request["files"]],
        tqdm_class=Bar,  # type: ignore[arg-type]  # the client takes any class of tqdm
    )
    return {"end": "done"}


def _failed(error: Exception, request: dict[str, Any]) -> dict[str, Any]:
    try:
        said = refusal(error, request["repo"], request["commit"])
    except Exception:  # noqa: BLE001 - not about Hub or disk: worth another try all the same
        said = DownloadError("")
    if isinstance(said, UserError):
        return {"end": "refused", "why": str(said), "kind": type(said).__name__}
    return {"end": "failed", "why": reason(error)}


if __name__ == "__main__":
    main()
