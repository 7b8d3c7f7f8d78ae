"""``stop``, ``pause`` and ``resume``: ask a run in another terminal, and wait until it has obeyed."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.shell import program, quoted
from batch.base.text import one_line, plural, roughly
from batch.cli.options import run_argument
from batch.cli.terminal import say, show

if TYPE_CHECKING:
    from batch.records.shard import Shard
    from batch.store.holders import Holder
    from batch.store.orders import AnswerState, OrderAnswer, OrderKind
    from batch.store.shards import Running

LOOK_S = 0.3
DEAF_S, DEAF_ELSEWHERE_S = 30.0, 120.0
"""After so long without an answer nobody is waited for: a network drive may take a minute to show an order."""
AGAIN_S = 30.0
"""Who waits is told so often that the run still says the same."""


def _one_shard(_context: click.Context, _option: click.Parameter, text: str | None) -> Shard | None:
    """``2/8``. Raises :class:`~batch.base.errors.UserError`."""
    if text is None:
        return None
    if text.strip().lower().startswith("auto"):
        raise errors.UserError(f"--shard {text}: write which one is meant as I/N, as 2/8")
    from batch.run.divided import asked

    return asked(text, {})


shard_option = click.option("--shard", metavar="I/N", callback=_one_shard,
                            help="Of several shards this one alone, as 2/8. Default: all.")  # fmt: skip
no_wait_option = click.option("--no-wait", is_flag=True, help="Return at once, without waiting for that.")


@click.command(short_help="Stop a run in another terminal.")
@run_argument
@shard_option
@click.option("--drop", is_flag=True, help="Drop the current image, as a second Ctrl-C does.")
@no_wait_option
def stop(run_folder: Path, *, shard: Shard | None, drop: bool, no_wait: bool) -> int:
    """Stop the run in a folder, as Ctrl-C in its terminal does: the current image is finished first.

    It ends all that was started with it, also the manifests that come next in a queue, and returns when it has
    ended. Of shards, all that are at work in the folder, or one. RUN is its folder or its manifest.
    """
    from batch.store.orders import OrderKind

    asked = _ask(run_folder, OrderKind.DROP if drop else OrderKind.STOP, shard)
    return _end(asked, None, no_wait=no_wait)


@click.command(short_help="Pause a run after the current image.")
@run_argument
@shard_option
@no_wait_option
def pause(run_folder: Path, *, shard: Shard | None, no_wait: bool) -> int:
    """Pause the run in a folder after the current image; the card's memory is free until it is resumed.

    Returns when it is paused. RUN is its folder or its manifest.
    """
    from batch.store.orders import AnswerState, OrderKind

    asked = _ask(run_folder, OrderKind.PAUSE, shard)
    return _end(asked, AnswerState.PAUSED, no_wait=no_wait)


@click.command(short_help="Continue a paused run.")
@run_argument
@shard_option
@no_wait_option
def resume(run_folder: Path, *, shard: Shard | None, no_wait: bool) -> int:
    """Continue the paused run in a folder.

    Returns when it goes on. RUN is its folder or its manifest.
    """
    from batch.store.orders import AnswerState, OrderKind

    asked = _ask(run_folder, OrderKind.RESUME, shard)
    return _end(asked, AnswerState.RUNNING, no_wait=no_wait)


def _ask(folder: Path, kind: OrderKind, shard: Shard | None) -> list[_Asked]:
    """Give the order to every run in the folder, of those that divide it perhaps to one ``shard`` alone.

    Raises :class:`~batch.base.errors.UserError` where nobody is there to obey, and
    :class:`~batch.base.errors.FolderError` where an order cannot be written.
    """
    from batch.store.folder import RunFolder

    run = RunFolder(folder)
    run.require()
    found = run.running()
    if not found:
        raise errors.UserError(f"nothing is running in {folder}{_rest(folder, kind)}")
    asked = [item for item in found if shard in (None, item.shard)]
    if not asked:
        there = ", ".join(str(item.shard) for item in found if item.shard is not None)
        who = f"at work are: {there}" if there else "it is rendered as a whole: leave --shard out"
        raise errors.UserError(f"shard {shard} is not at work in {folder}; {who}")
    if any(not item.holder["pid"] for item in asked):  # nobody knows yet to whom to address it
        raise errors.UserError(f"a run has just started in {folder}; try again in half a minute")
    return [_Asked(folder, kind, item) for item in asked]


def _rest(folder: Path, kind: OrderKind) -> str:
    """What ``resume`` may be meant for, where nothing is paused."""
    from batch.cli.going_on import commands
    from batch.store.orders import OrderKind
    from batch.store.status import summarize

    if kind != OrderKind.RESUME:
        return ""
    summary = summarize(folder)
    if not summary.to_render:
        return ", and nothing is left to render"
    found = commands(summary)
    more = f", and likewise the other {plural(len(found) - 1, 'shard')}" if found[1:] else ""
    return f"; {found[0]} continues it{more}" if summary.source else ""


def _end(asked: Sequence[_Asked], wanted: AnswerState | None, *, no_wait: bool) -> int:
    """Wait for a state, None for the end, and say whether it came to that: with each in turn."""
    code = errors.EXIT_OK
    for one in asked:
        named = quoted(one.folder) + (f" (shard {one.run.shard})" if one.run.shard else "")
        if no_wait:
            show(f"{named}: {one.said}")
            continue
        why = one.wait(wanted)
        show(one_line(f"{named} {why or one.done}"))
        code = errors.EXIT_FAILED if why else code
    return code


@dataclass(slots=True)
class _Asked:
    """An order that was given. Raises :class:`~batch.base.errors.FolderError` where it cannot be written."""

    folder: Path
    kind: OrderKind
    run: Running
    _already: bool = field(default=False, init=False)
    """All was as it was asked for."""
    said: str = field(default="", init=False)
    _state: Path = field(init=False)
    _who: Holder = field(init=False)
    _order: Path = field(init=False)
    _last: OrderAnswer | None = field(default=None, init=False)
    _at: float = field(init=False)
    """When that was heard; before anything was, when the order was given."""

    def __post_init__(self) -> None:
        from batch.store import orders

        self._state, who = self.run.state, self.run.holder
        self._who = who
        self._already = self._is_so(orders.answered(self._state, self._token))
        try:
            self._order = orders.give(self._state, self.kind, self._token)
        except OSError as error:
            raise errors.FolderError(self._unwritten(error)) from None
        self._at = time.monotonic()
        self.said = f"process {who['pid']} on {who['host']} was asked to {self.kind}"
        if self._elsewhere:
            say(one_line(f"it runs on {who['host']}: that machine sees the order when the network drive shows it"))

    @property
    def _token(self) -> str:
        return self._who.get("token", "")

    @property
    def _elsewhere(self) -> bool:
        return self._who["host"] != platform.node()

    def _is_so(self, before: OrderAnswer | None) -> bool:
        from batch.store.orders import AnswerState, OrderKind

        state = AnswerState.RUNNING if before is None else before["state"]
        return (self.kind, state) in (
            (OrderKind.PAUSE, AnswerState.PAUSED),
            (OrderKind.RESUME, AnswerState.RUNNING),
        )

    @property
    def done(self) -> str:
        """What the run is now; the folder stands before it."""
        from batch.store.orders import OrderKind

        if self.kind == OrderKind.RESUME:
            return "was not paused" if self._already else "continues"
        if self.kind != OrderKind.PAUSE:
            return "has stopped"
        said = "is paused" if self._last is None else f"is {self._last['text']}"
        again = "was paused already, and " if self._already else ""
        shard = f" --shard {self.run.shard}" if self.run.shard else ""
        return f"{again}{said}; {program()} resume {quoted(self.folder)}{shard} continues it"

    def _unwritten(self, error: OSError) -> str:
        from batch.base import disk

        why = error.strerror or error
        is_full = disk.is_full(error)
        where = f"the disk of {self.folder} is full" if is_full else f"{self._state} cannot be written"
        remedy = f"Make room there, or without an order: {self._by_hand}" if is_full else self._by_hand
        return f"{where} ({why}), so the order cannot be given. {remedy}"

    @property
    def _by_hand(self) -> str:
        """What ends a run that obeys no order."""
        pid, host = self._who["pid"], self._who["host"]
        ending = f"taskkill /F /T /PID {pid}" if sys.platform == "win32" else f"kill {pid}"
        return f"Ctrl-C where it was started stops the run, or `{ending}` on {host}"

    def wait(self, wanted: AnswerState | None) -> str:
        """Wait until it is as it was asked to be, None: over; telling what goes on. "" or why it never will be."""
        from batch.store import lock, orders

        told, told_at = None, self._at
        while (who := lock.holder(self._state)) is not None and who.get("token", "") == self._token:
            said = self._hear()
            if said is not None:
                if said["state"] == wanted:
                    return ""
                if why := self._otherwise(said["state"]):
                    return why
                if told != said["state"]:
                    told, told_at = said["state"], time.monotonic()
                    say(one_line(said["text"]))
            if (silent := time.monotonic() - self._at) > (DEAF_ELSEWHERE_S if self._elsewhere else DEAF_S):
                return self._deaf(silent)
            if said is not None and time.monotonic() - told_at >= AGAIN_S:
                told_at = time.monotonic()
                say(one_line(f"still {said['text']} (heard {roughly(silent)} ago)"))
            time.sleep(LOOK_S)
        if orders.waits(self._order):
            with suppress(OSError):
                self._order.unlink()
            return "was killed before it heard the order; the same command goes on with it"
        return "has ended" if wanted is not None else ""

    def _hear(self) -> OrderAnswer | None:
        """What the run says now that it has obeyed; None before."""
        from batch.store import orders

        if orders.waits(self._order):
            return None
        said = orders.answered(self._state, self._token)
        if said is not None and (self._last is None or said["at"] != self._last["at"]):
            self._at = time.monotonic()
        self._last = said or self._last
        return self._last

    def _otherwise(self, state: AnswerState) -> str:
        """What somebody else has asked for since; "" where nobody has."""
        from batch.store.orders import AnswerState, OrderKind

        if self.kind in (OrderKind.STOP, OrderKind.DROP):
            return ""
        if state == AnswerState.STOPPING:
            return "is being stopped"
        if self.kind == OrderKind.PAUSE:
            return "was resumed meanwhile" if state == AnswerState.RUNNING else ""
        return "" if state == AnswerState.RUNNING else "was paused again meanwhile"

    def _deaf(self, silent: float) -> str:
        """Nobody is waited for any longer; the order stands."""
        said = f"the last it said was: {self._last['text']}" if self._last else "the order lies there"
        return one_line(
            f"does not answer: nothing from process {self._who['pid']} on {self._who['host']} for "
            f"{roughly(silent)}; {said}. It may be suspended (Ctrl-Z), or its disk be full. {self._by_hand}"
        )
