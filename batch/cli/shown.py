"""Who is shown a run: by the options and the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batch.cli.progress import JsonEvents, Lines, Quiet

if TYPE_CHECKING:
    from batch.records.events import Listener


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
