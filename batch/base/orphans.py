"""Processes of this program that outlived whoever started them: known by what they carry, named, ended.

What a process carries is a variable of its environment: the id of its parent, and the run folder that it works
for. Whoever starts a process gives it that, and it is read from the process itself: of one's own processes, and by
root of all. No file can put it into a process that is there already.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import nvml
from batch.base.text import gib

if TYPE_CHECKING:
    import psutil

VARIABLE = "RUN_BATCH_PARENT"
"""Carried by every process that is started to work for another: ``<id of the parent>:<folder>``.

A worker that goes on from run to run carries the folders of them all, a line each."""

GONE_S = 10.0
"""A process that was killed is waited for so long: the driver takes its memory back before it is gone."""

_WORKER = "--multiprocessing-fork"
"""The last word of a worker's command line, in every Python and on every system."""

_HELPER = "batch."
"""How the name of the module begins that :class:`~batch.base.processes.ChildProcess` runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A process whose parent is gone, and what it holds."""

    pid: int
    folder: str
    """The run folder it works for; "" where it works for none, or does not let itself be asked."""
    later: tuple[str, ...] = ()
    """Those it goes on to: nothing says which of them all it is at."""
    status: str
    """In the words of psutil: ``stopped``, ``sleeping`` …"""
    held: int
    """Bytes of the cards; where it has none there, or the driver does not say, of the machine's memory."""
    on_card: bool
    user: str = ""
    """Whose it is, where it does not let itself be asked: then nothing says that it is what it seems."""

    def __str__(self) -> str:
        """For people."""
        words = [f"process {self.pid}" + (f" of {self.user}" if self.user else "")]
        words += ["stopped"] if self.status in ("stopped", "tracing-stop") else []
        return ", ".join([*words, f"holds {gib(self.held)} of {'the card' if self.on_card else 'memory'}"])


def mark(*folders: Path) -> str:
    """What a child of this process carries."""
    lines = "\n".join(str(folder.resolve()) for folder in folders)
    return f"{os.getpid()}:{lines}"


@contextmanager
def marked(*folders: Path) -> Iterator[None]:
    """A process that is started meanwhile works for the first of the folders, and later for the others."""
    os.environ[VARIABLE] = mark(*folders)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)


def of(process: psutil.Process) -> Orphan | None:
    """What is left of a run that is gone; None where the process is no such thing. Raises ``psutil.Error``."""
    with process.oneshot():
        if not _is_ours(process.cmdline()) or ended(process):
            return None
        parent, _, folders = process.environ().get(VARIABLE, "").partition(":")
        if not parent or not _alone(process, parent) or _elsewhere(process.pid):
            return None
        return _described(process, *folders.split("\n"))


def of_another(process: psutil.Process, parent: int) -> Orphan | None:
    """The same of one that does not let itself be asked: a worker that is no child of ``parent``, perhaps."""
    with process.oneshot():
        if not _is_ours(process.cmdline()) or ended(process) or not _alone(process, str(parent)):
            return None
        return _described(process, "", user=process.username())


def every() -> Iterator[Orphan]:
    """All of this machine that this user may see."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if found := of(process):
                yield found


def end(process: psutil.Process) -> str:
    """Kill it and wait until it is gone; why it is not, "" when it is."""
    import psutil

    try:
        process.kill()
    except psutil.NoSuchProcess:
        return ""
    except psutil.Error:
        return "it belongs to another user"
    until = time.monotonic() + GONE_S
    while time.monotonic() < until:
        if ended(process):
            return ""
        time.sleep(0.05)
    return "it hangs in the kernel: the disk or the driver does not answer"


def ended(process: psutil.Process) -> bool:
    """Whether nothing of it is left but an entry in the table of processes, if that."""
    import psutil

    try:
        # A process is shown as a zombie when its first thread is one: the others may still hold the card.
        return not process.is_running() or (
            process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        )
    except psutil.NoSuchProcess:
        return True


def _is_ours(command: list[str]) -> bool:
    if command[-1:] == [_WORKER]:
        return True
    return command[-2:-1] == ["-m"] and command[-1].startswith(_HELPER)


def _alone(process: psutil.Process, parent: str) -> bool:
    """Whether its parent is gone. Windows goes on naming that, and may have given its number to another."""
    return str(process.ppid()) != parent or (sys.platform == "win32" and process.parent() is None)


def _elsewhere(pid: int) -> bool:
    """Whether it lives in a container, where processes have other numbers than here."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink()
    return False


def _described(process: psutil.Process, folder: str, *later: str, user: str = "") -> Orphan:
    on_cards = nvml.held_by(process.pid)
    return Orphan(
        pid=process.pid,
        folder=folder,
        later=later,
        status=process.status(),
        held=on_cards or process.memory_info().rss,
        on_card=bool(on_cards),
        user=user,
    )
