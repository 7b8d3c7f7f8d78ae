"""Who is shown a run: by the options and the terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.base.errors import in_words
from batch.cli import progress
from batch.cli.progress import JsonEvents, Lines, Quiet
from batch.cli.terminal import say
from batch.records.events import Began

if TYPE_CHECKING:
    from batch.records.events import Event, Listener


def listener(*, quiet: bool, as_json: bool, run: str = "", said: set[str] | None = None) -> Listener:
    """The right one for the options and the terminal.

    ``run`` names one of several manifests, which share what was ``said`` of streams that cannot be written.
    """
    return Unheard(_chosen(quiet=quiet, as_json=as_json, run=run), set() if said is None else said)


@dataclass(slots=True)
class Unheard:
    """Tells another, and goes on where that cannot write: a full disk and a reader that left end no run."""

    listener: Listener
    said: set[str]
    """Warnings: each is given once."""

    def on(self, event: Event) -> None:
        """See :class:`~batch.records.events.Listener`."""
        try:
            self.listener.on(event)
        except (OSError, ValueError) as error:
            warning = f"warning: what goes on cannot be written ({in_words(error)}); the run is not affected"
            if warning not in self.said:
                self.said.add(warning)
                say(warning)


def _chosen(*, quiet: bool, as_json: bool, run: str) -> Listener:
    if as_json:
        return JsonEvents(run)
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Lines()
    from batch.cli.bars import Bars  # rich takes its time

    return Bars()


def events(*, as_json: bool) -> Listener | None:
    """Who is told what comes up where no run tells it: with ``--json`` a program."""
    return Unheard(JsonEvents(), set()) if as_json else None


class InTurn:
    """Says first which of several manifests begins."""

    def __init__(self, listener: Listener, turn: str) -> None:
        self._listener, self._turn = listener, turn

    def on(self, event: Event) -> None:
        """As the listener that it stands before."""
        if isinstance(event, Began):
            progress.say(self._turn)
        self._listener.on(event)
