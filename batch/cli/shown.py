"""Who is shown a run: by the options and the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batch.cli.progress import JsonEvents, Lines, Quiet, say
from batch.records.events import Began

if TYPE_CHECKING:
    from batch.records.events import Event, Listener


def listener(*, quiet: bool, as_json: bool, run: str = "") -> Listener:
    """The right one for the options and the terminal; ``run`` names one of several manifests."""
    if as_json:
        return JsonEvents(run)
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Lines()
    from batch.cli.bars import Bars  # rich takes its time

    return Bars()


class InTurn:
    """Says first which of several manifests begins."""

    def __init__(self, listener: Listener, turn: str) -> None:
        self._listener, self._turn = listener, turn

    def on(self, event: Event) -> None:
        """As the listener that it stands before."""
        if isinstance(event, Began):
            say(self._turn)
        self._listener.on(event)
