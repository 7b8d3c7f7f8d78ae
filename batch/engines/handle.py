"""A worker process as its parent sees it: started, spoken to, and its death explained."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import atomic, orphans
from batch.base.errors import StoppedEarly
from batch.base.processes import signal_name
from batch.engines import child, job_object
from batch.engines.base import TICK_S
from batch.engines.death import Death
from batch.engines.messages import Bye, DumpStacks, Move, Stop
from batch.store import workers

if TYPE_CHECKING:
    from batch.engines.messages import FromWorker, ToWorker
    from batch.render.backend import Backend

LOG_LINES = 30
_KILL_S = 30.0


class Handle:
    """One worker process."""

    def __init__(
        self,
        state: Path,
        devices: str | None,
        backend: Backend,
        later: Sequence[Path] = (),
        *,
        number: int = 0,
        shares: int = 1,
    ) -> None:
        """``later`` are the run folders that it may go on to, ``number`` is that of its seat.

        Where it renders on the CPU, so many such workers share its threads.
        """
        self._later = frozenset(later)
        self._number = number
        self._dismissed = False
        self._settle(state)
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=child.main,
            args=(theirs, self._log, self._stacks, devices, backend, shares),
            name="worker",
            daemon=True,
        )
        workers.note(state, None, os.getpid())
        with _signals_blocked(), orphans.marked(state.parent, *later):
            self._process.start()
        pid = self._process.pid
        assert pid is not None
        workers.note(state, pid, os.getpid())
        job_object.tie(pid)
        theirs.close()  # so that the pipe ends with the process

    def _settle(self, state: Path) -> None:
        """Have an empty log in a run's folder of records."""
        self._state = state
        which = f"-{self._number + 1}" if self._number else ""
        self._log, self._stacks = state / f"worker{which}.log", state / f"stacks{which}.txt"
        atomic.open_own(self._log, empty=True).close()
        self._kills = _kernel_kills()

    def leave(self) -> None:
        """Belong to no run until it goes on with another. Call it under the lock of the one it has served."""
        self._forget()

    def go_on(self, state: Path) -> bool:
        """Serve another run, if it is one that it was started for and lives. Call it under that run's lock."""
        if state.parent not in self._later or not self._process.is_alive():
            return False
        self._settle(state)
        workers.note(state, self.pid, os.getpid())
        self.send(Move(self._log, self._stacks))
        return True

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """What is ready when there is something to receive."""
        return self._pipe

    def send(self, message: ToWorker) -> None:
        """Say something; a worker that is gone is noticed by :meth:`receive`."""
        with suppress(OSError):
            self._pipe.send(message)

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._pipe.closed

    def receive(self) -> FromWorker | None:
        """See :class:`~batch.engines.base.WorkerLine`."""
        return self._receive(0.0)

    def _receive(self, seconds: float) -> FromWorker | None:
        try:
            if self._pipe.poll(seconds):
                message: FromWorker = self._pipe.recv()
                return message
        except (OSError, EOFError):
            raise EOFError from None
        except Exception as error:  # a message cut off by a death is no pickle
            raise EOFError from error
        return None

    def stacks(self) -> str:
        """Where every thread of the process is; empty when it cannot be had."""
        if child.DUMP_SIGNAL is None:
            self.send(DumpStacks())
        else:
            with suppress(OSError):
                os.kill(self._process.pid or 0, child.DUMP_SIGNAL)
        for _ in range(20):
            time.sleep(0.1)
            if text := _text(self._stacks):
                time.sleep(0.2)
                return _text(self._stacks) or text
        return ""

    def kill(self) -> None:
        """End it at once. Raises :class:`StoppedEarly` when even that does not help."""
        self._process.kill()
        self._process.join(_KILL_S)
        if self._process.exitcode is None:
            raise StoppedEarly(
                f"the worker (process {self.pid}) hangs in the kernel and cannot be ended: the disk or the "
                "driver does not answer. Restart the machine, then run the same command again"
            )
        self._forget()

    def dismiss(self) -> None:
        """Tell it to drop what it renders, save what is rendered, and end."""
        if not (self._dismissed or self.closed):
            self._dismissed = True
            self.send(Stop())
            self.send(Bye())

    def close(self) -> None:
        """Wait until it has, once dismissed."""
        if self.closed:
            return
        self.dismiss()
        deadline = time.monotonic() + _KILL_S
        while self._process.exitcode is None and time.monotonic() < deadline:
            try:
                self._receive(TICK_S)  # a full pipe would hold it up
            except EOFError:
                self._process.join(_KILL_S)
        self._pipe.close()
        if self._process.exitcode is None:
            with suppress(StoppedEarly):
                self.kill()
        else:
            self._forget()

    def _forget(self) -> None:
        if self.pid is not None:
            workers.forget(self._state, self.pid)

    def death(self) -> Death:
        """Wait for the end and say how it came about."""
        self._process.join(_KILL_S / 3)
        if self._process.exitcode is None:
            self.kill()
        self._pipe.close()
        self._forget()
        code = self._process.exitcode or 0
        killed = -code == getattr(signal, "SIGKILL", 9)
        by_kernel = killed and self._kills is not None and (_kernel_kills() or 0) > self._kills
        if code >= 0:
            reason = f"exit code {code}" if code < 256 else f"exit code {code:#x}"
        else:
            name = signal_name(code)
            reason = f"signal {-code} ({name})" if name else f"signal {-code}"
        if by_kernel:
            reason = "the kernel ended it because the machine ran out of memory"
        elif killed:
            reason += ", from outside (kill -9, or the kernel where the machine runs out of memory)"
        lines = _text(self._log).strip().splitlines()
        return Death(reason, "\n".join(lines[-LOG_LINES:]), by_kernel)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _kernel_kills() -> int | None:
    """How many processes Linux has ended for want of memory; None where that is not told."""
    for line in _text(Path("/proc/vmstat")).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdigit():
            return int(value)
    return None


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A process started now is not ended by what reaches the whole group before it can say that it ignores it.

    A blocked signal waits for this process, and a child inherits the block. Windows has none: there Ctrl-C is
    ignored for that moment.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # starting it lets SIGINT and SIGTERM through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    elif threading.current_thread() is threading.main_thread():
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
    else:
        yield
