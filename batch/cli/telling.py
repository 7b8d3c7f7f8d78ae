"""The end of a command: whoever is still being told how a run ended is waited for, and may be left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from batch.base.text import one_line, roughly
from batch.cli.terminal import say, signalled

if TYPE_CHECKING:
    from batch.run.notifier import Notifier
    from batch.run.steering import Steering

QUIET_S = 1.0
"""A wait that is shorter is not spoken of."""

LEAST_S = 0.5
"""Whoever is to be told is tried for so long, also where a stop has used up its time."""

LAST_S = 0.3
"""Of the time of a stop this is kept for ending whoever is left; for the program there is more."""

LOOK_S = 0.05


def wait(notifiers: Sequence[Notifier], stop: Steering) -> None:
    """Wait until all are told, no longer than a stop may take, or until the second Ctrl-C; warn of what failed.

    Call it when all else is said and done: the run is over, and its folder free.
    """
    asked, spoken, start = 0, False, time.monotonic()

    def on_signal() -> None:
        nonlocal asked, spoken
        asked, spoken = asked + 1, True
        stop.interrupt()  # from now on its time runs, where it has one
        if asked == 1:
            _say(f"{_waiting(notifiers, stop)} (again: {_are(notifiers)} left)", "\n")

    for notifier in notifiers:
        notifier.end()
    with signalled(on_signal):
        while _waited_for(notifiers):
            waited, left = time.monotonic() - start, stop.left_s
            if asked > 1 or (left is not None and left <= LAST_S and waited >= LEAST_S):
                for notifier in notifiers:
                    notifier.leave()
                break
            if waited >= QUIET_S and not spoken:
                spoken = True
                _say(f"{_waiting(notifiers, stop)} (Ctrl-C twice: {_are(notifiers)} left)")
            time.sleep(LOOK_S)
        for notifier in notifiers:
            for warning in notifier.close():
                _say(f"warning: {warning}")


def _waited_for(notifiers: Sequence[Notifier]) -> list[str]:
    return [label for notifier in notifiers for label in notifier.waiting_for]


def _waiting(notifiers: Sequence[Notifier], stop: Steering) -> str:
    longest = max(notifier.left_s for notifier in notifiers)
    if stop.left_s is not None:
        longest = min(longest, max(LEAST_S, stop.left_s - LAST_S))
    names = ", ".join(dict.fromkeys(_waited_for(notifiers))) or "the last one"
    return f"telling {names}, up to {roughly(longest)}"


def _are(notifiers: Sequence[Notifier]) -> str:
    return "they are" if len(set(_waited_for(notifiers))) > 1 else "it is"


def _say(line: str, before: str = "") -> None:
    with suppress(OSError, RuntimeError, ValueError):  # nobody reads any more, or in the middle of a line
        say(before + one_line(line))
