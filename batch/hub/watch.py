"""One attempt at a download: a child process, watched, and ended when nothing moves any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from batch.base import errors
from batch.base.errors import Interrupted
from batch.base.processes import ChildProcess
from batch.hub import cache

if TYPE_CHECKING:
    from batch.hub.downloads import Request

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
    request: Request,
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
    variables: dict[str, str | None] = dict.fromkeys(cache.empty_places())
    if not xet:
        variables["HF_HUB_DISABLE_XET"] = "1"
    pulse = _Pulse(request["repo"], max(patience, IMPORT_S))
    with ChildProcess("batch.hub.child", request, variables) as child:
        while stop is None or not stop.is_set():
            try:
                said = child.answer(TICK_S)
            except TimeoutError:
                if pulse.stopped():
                    return f"stalled for {pulse.patience:g} s"
                continue
            if said is None:
                return f"ended with code {child.code()}"
            pulse.beat()
            if said.get("ready"):
                pulse.patience = patience
            # Over Xet the network is ahead of the disk by whole blocks of up to 64 MB, several at a time.
            received(int(max(said.get("disk", 0), said.get("network", 0))))
            if said.get("end") == "refused":
                raise getattr(errors, said["kind"])(said["why"])
            if "end" in said:
                return "" if said["end"] == "done" else f"failed: {said['why']}"
    raise Interrupted(INTERRUPTED)
