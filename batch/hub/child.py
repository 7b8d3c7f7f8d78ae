"""The process that downloads: one repository at one commit, then it ends.

The Hub's client reads its variables when it is imported, and its fast path can hang where no exception and no
signal reaches it, so a download is a process that can be given other variables and be killed. It is asked with a
:class:`~batch.hub.downloads.Request` and answers what was received so far, and how it ended.
"""

from __future__ import annotations

import glob
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from batch.base.errors import DownloadError, UserError
from batch.base.processes import Parent
from batch.hub.refusals import reason, refusal

if TYPE_CHECKING:
    from batch.hub.downloads import Request

EVERY_S = 0.2

PLAIN_BYTES = 2**18
"""The client reads plain HTTP in pieces of that size, instead of 10 MiB. Before a piece is whole it says nothing
and writes nothing: eight files at once over a line of 1 MB/s would look like a stall for more than a minute."""


class _Voice:
    """Says how far the download is, not at every step of it."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._last = 0.0
        self._received: dict[str, float] = {}

    def received(self, what: str, count: float) -> None:
        """Bytes came from the network, or reached the disk."""
        with self._lock:  # files are downloaded at the same time
            self._received[what] = self._received.get(what, 0.0) + count
            now = time.monotonic()
            if now - self._last >= EVERY_S:
                self._last = now
                self._parent.tell(self._received)


def main() -> None:
    """Read the request, download, say how it ended."""
    parent = Parent()
    request: Request = parent.request
    try:
        _download(request, parent)
        parent.tell({"end": "done"})
    except Exception as error:  # noqa: BLE001 - whatever the client raises, the parent decides what comes next
        try:
            said = refusal(error, request["repo"], request["commit"])
        except Exception:  # noqa: BLE001 - not about Hub or disk: worth another try all the same
            said = DownloadError("")
        if isinstance(said, UserError):
            parent.tell({"end": "refused", "why": str(said), "kind": type(said).__name__})
        else:
            parent.tell({"end": "failed", "why": reason(error)})
    os._exit(0)  # the client's threads may still be at it


def _download(request: Request, parent: Parent) -> None:
    from huggingface_hub import constants, snapshot_download
    from tqdm import tqdm

    voice = _Voice(parent)

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
    parent.tell({"ready": True})
    snapshot_download(
        request["repo"],
        # The commit, not a branch: what was looked up is what is downloaded.
        revision=request["commit"],
        cache_dir=request["cache"],
        allow_patterns=[glob.escape(name) for name in request["files"]],
        tqdm_class=Bar,  # type: ignore[arg-type]  # the client takes any class of tqdm
    )


if __name__ == "__main__":
    main()
