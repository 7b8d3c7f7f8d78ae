"""Orders of other processes, looked for as long as a folder's lock is held, and what the run answers."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from batch.store import orders

if TYPE_CHECKING:
    from batch.run.steering import Steering
    from batch.store.folder import RunFolder

LOOK_S = 0.5
"""Seconds between two looks for orders."""

AGAIN_S = 5.0
"""After so long the same answer is given anew: whoever waits sees that somebody is there."""


@contextmanager
def obeying(stop: Steering, folder: RunFolder) -> Iterator[None]:
    """Look for orders in a folder for as long as its lock is held; what is left of an earlier run is swept."""
    assert folder.held is not None
    inbox, ended = orders.Inbox(folder.own, folder.held.token), threading.Event()
    thread = threading.Thread(target=_look, args=(stop, inbox, ended), name="orders", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        orders.clear(folder.own)
        stop.released()


def _look(stop: Steering, inbox: orders.Inbox, ended: threading.Event) -> None:
    asked, said, said_at = False, None, 0.0
    while True:
        for order in inbox.take():
            stop.obey(order)
            asked = True
        now = (stop.answer_state, stop.level)
        if asked and (said != now or monotonic() - said_at >= AGAIN_S):
            said, said_at = now, monotonic()
            inbox.answer(stop.answer_state, stop.answer())
        inbox.done()
        if stop.to_be_woken():
            _wake_main()
        if ended.wait(stop.look_s(LOOK_S)):
            return


def _wake_main() -> None:
    """Have the main thread run its signal handler, also where it waits for something."""
    ident = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and ident is not None:
        signal.pthread_kill(ident, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
