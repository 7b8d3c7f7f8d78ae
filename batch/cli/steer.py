"""``stop``, ``pause`` and ``resume``: ask a run in another terminal, and wait until it has obeyed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import one_line
from batch.cli.options import run_argument
from batch.cli.terminal import program, quoted, say, show

if TYPE_CHECKING:
    from batch.store.lock import Holder
    from batch.store.orders import AnswerState, OrderAnswer, OrderKind

LOOK_S = 0.3
DEAF_S = 15.0
"""After so long without an answer that is said."""

no_wait_option = click.option("--no-wait", is_flag=True, help="Return at once.")


@click.command(short_help="Stop a run in another terminal.")
@run_argument
@click.option("--drop", is_flag=True, help="Drop the current image, as a second Ctrl-C does.")
@no_wait_option
def stop(run_folder: Path, *, drop: bool, no_wait: bool) -> int:
    """Stop the run in a folder, as Ctrl-C in its terminal does: the current image is finished first.

    RUN is its folder or its manifest.
    """
    from batch.store.orders import OrderKind

    asked = _Asked(run_folder, OrderKind.DROP if drop else OrderKind.STOP)
    if no_wait or not asked.until(lambda _state: False):
        show(f"{quoted(run_folder)}: {asked.said if no_wait else 'it has stopped'}")
    return errors.EXIT_OK


@click.command(short_help="Pause a run after the current image.")
@run_argument
@no_wait_option
def pause(run_folder: Path, *, no_wait: bool) -> int:
    """Pause the run in a folder after the current image; the card's memory is free until it is resumed.

    RUN is its folder or its manifest.
    """
    from batch.store.orders import AnswerState, OrderKind

    asked = _Asked(run_folder, OrderKind.PAUSE)
    resume_it = f"{program()} resume {quoted(run_folder)}"
    return _end(asked, AnswerState.PAUSED, f"it is paused; {resume_it} continues it", no_wait=no_wait)


@click.command(short_help="Continue a paused run.")
@run_argument
@no_wait_option
def resume(run_folder: Path, *, no_wait: bool) -> int:
    """Continue the paused run in a folder. RUN is that folder or the manifest."""
    from batch.store.orders import AnswerState, OrderKind

    asked = _Asked(run_folder, OrderKind.RESUME)
    return _end(asked, AnswerState.RUNNING, "it continues", no_wait=no_wait)


def _end(asked: _Asked, wanted: AnswerState, done: str, *, no_wait: bool) -> int:
    """Wait for a state, and say whether it came to that."""
    folder = quoted(asked.folder)
    if no_wait:
        show(f"{folder}: {asked.said}")
        return errors.EXIT_OK
    if asked.until(lambda state: state == wanted):
        show(f"{folder}: {asked.already or done}")
        return errors.EXIT_OK
    show(f"{folder}: the run has ended")
    return errors.EXIT_FAILED


@dataclass(slots=True)
class _Asked:
    """An order that was given. Raises :class:`~batch.base.errors.UserError` where nobody is there to obey."""

    folder: Path
    kind: OrderKind
    already: str = field(default="", init=False)
    """What to say where all was as it was asked for."""
    said: str = field(default="", init=False)
    _state: Path = field(init=False)
    _token: str = field(init=False)
    _order: Path = field(init=False)

    def __post_init__(self) -> None:
        from batch.store import lock, orders
        from batch.store.folder import RunFolder
        from batch.store.orders import AnswerState, OrderKind

        run = RunFolder(self.folder)
        run.require()
        self._state = run.state
        who = lock.holder(run.state)
        if who is None:
            raise errors.UserError(f"nothing is running in {self.folder}{self._rest()}")
        self._token = who.get("token", "")
        before = orders.answered(self._state, self._token)
        state = AnswerState.RUNNING if before is None else before["state"]
        if (self.kind, state) == (OrderKind.PAUSE, AnswerState.PAUSED):
            self.already = f"it was paused already; {program()} resume {quoted(self.folder)} continues it"
        elif (self.kind, state) == (OrderKind.RESUME, AnswerState.RUNNING):
            self.already = "it was not paused"
        self._order = orders.give(self._state, self.kind, self._token)
        self.said = f"process {who['pid']} on {who['host']} was asked to {self.kind}"
        if who["host"] != platform.node():
            say(one_line(f"it runs on {who['host']}: that machine sees the order when the network drive shows it"))

    def _rest(self) -> str:
        """What ``resume`` may be meant for, where nothing is paused."""
        from batch.cli.standing import again
        from batch.store.orders import OrderKind
        from batch.store.status import summarize

        if self.kind != OrderKind.RESUME:
            return ""
        summary = summarize(self.folder)
        if not summary.to_render:
            return ", and nothing is left to render"
        return f"; {again(summary, '').rstrip()} continues it" if summary.source else ""

    def until(self, fits: Callable[[AnswerState], bool]) -> bool:
        """Wait until the run's state fits, telling what goes on; False when the run has ended before."""
        from batch.store import lock, orders

        start, told, deaf = time.monotonic(), "", False
        while self._goes_on(lock.holder(self._state)):
            heard = not self._order.exists()
            answer: OrderAnswer | None = orders.answered(self._state, self._token) if heard else None
            if answer is not None:
                if fits(answer["state"]):
                    return True
                if told != answer["text"]:
                    told = answer["text"]
                    say(one_line(told))
            elif not deaf and time.monotonic() - start > DEAF_S:
                deaf = True
                say("no answer yet (it may be stopped with Ctrl-Z, or of an older version); still waiting")
            time.sleep(LOOK_S)
        return False

    def _goes_on(self, who: Holder | None) -> bool:
        return who is not None and who.get("token", "") == self._token
