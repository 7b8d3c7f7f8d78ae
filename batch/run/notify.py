"""Tell someone how a run goes: services by their apprise URLs, and commands.

Targets are checked before a run starts, where a mistake is an error. From then on telling never holds a run up
and never fails it: every target has a thread of its own, and what went wrong is a warning at the end.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from string import Template
from threading import Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

from batch.base import install
from batch.base.errors import UserError
from batch.base.processes import Tail, signal_name

if TYPE_CHECKING:
    from apprise import NotifyBase


class NotifyEvent(StrEnum):
    """What people are told, with the word that commands get."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    STALLED = "stalled"
    LOW_DISK = "low-disk"


SECONDS = 30.0
"""How long one target may take for one message."""

_GRACE = 5.0
"""Seconds beyond that for a thread to end what it has stopped."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_KINDS: Mapping[NotifyEvent, Literal["info", "success", "warning", "failure"]] = {
    NotifyEvent.DONE: "success",
    NotifyEvent.FAILED: "failure",
    NotifyEvent.STOPPED: "info",
    NotifyEvent.STALLED: "warning",
    NotifyEvent.LOW_DISK: "warning",
}
"""What apprise calls the events; services show them as colours or symbols."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a target is told."""

    event: NotifyEvent
    title: str
    text: str
    counts: Mapping[str, int]
    folder: Path

    def variables(self) -> dict[str, str]:
        """As environment variables of a command."""
        counts = {f"RUN_BATCH_{name.upper().replace('-', '_')}": str(count) for name, count in self.counts.items()}
        return counts | {
            "RUN_BATCH_EVENT": self.event,
            "RUN_BATCH_TITLE": self.title,
            "RUN_BATCH_MESSAGE": self.text,
            "RUN_BATCH_FOLDER": str(self.folder),
        }

    def json(self) -> bytes:
        """As a command reads it on stdin: one object, in ASCII."""
        data = {"event": self.event, "title": self.title, "message": self.text, "folder": str(self.folder)}
        return json.dumps({**data, "counts": dict(self.counts)}).encode()


class Target(Protocol):
    """Someone to tell."""

    @property
    def label(self) -> str:
        """How a message may name it: without secrets."""

    def tell(self, message: Message, seconds: float) -> str:
        """Tell it; "" or why that failed. May raise anything."""


class Notifier:
    """Tells every target in the background, each in the order of the events."""

    def __init__(self, targets: Sequence[Target], seconds: float = SECONDS) -> None:
        self._lines = [_Line(target, seconds) for target in targets]

    def send(self, event: NotifyEvent, title: str, message: str, counts: Mapping[str, int], folder: Path) -> None:
        """Tell all; returns at once and never raises. After :meth:`close` nobody is told."""
        told = Message(event=event, title=title, text=message, counts=dict(counts), folder=folder)
        for line in self._lines:
            line.put(told)

    def close(self) -> list[str]:
        """Wait until all are told, at most about twice what one message may take; what went wrong."""
        for line in self._lines:
            line.end()
        return [warning for line in self._lines for warning in line.wait()]


class _Line:
    """One target, its messages and its thread: one that hangs holds up no other."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target, self._seconds = target, seconds
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        # A daemon, so that the program can end whatever the target does.
        self._thread = Thread(target=self._work, daemon=True, name=f"notify {target.label}")
        self._warnings: list[str] = []
        self._deadline = float("inf")

    def put(self, message: Message) -> None:
        if self._deadline < float("inf"):
            return
        self._messages.put(message)
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError as error:  # the system has no thread left
                self._warnings.append(f"{self._target.label} was not told '{message.event}': {error}")

    def end(self) -> None:
        if self._deadline == float("inf"):
            self._deadline = monotonic() + 2 * self._seconds
            self._messages.put(None)

    def wait(self) -> list[str]:
        if self._thread.ident is not None:
            self._thread.join(max(0.0, self._deadline - monotonic()) + _GRACE)
            if self._thread.is_alive():
                return [*self._warnings, f"{self._target.label} was perhaps not told: it does not answer"]
        return list(self._warnings)

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            seconds, why = min(self._seconds, self._deadline - monotonic()), "the messages before took too long"
            if seconds > 0:
                try:
                    why = self._target.tell(message, seconds)
                except Exception as error:  # noqa: BLE001 - a run does not fail because nobody could be told
                    why = type(error).__name__  # its text may hold an address
            if why:
                self._warnings.append(f"{self._target.label} was not told '{message.event}': {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that apprise knows."""

    label: str
    hidden: tuple[str, ...]
    server: NotifyBase

    def tell(self, message: Message, seconds: float) -> str:
        """Send through apprise, in a thread that is left behind when it hangs: no service can be interrupted."""
        outcome: list[str] = []

        def deliver() -> None:
            with _said_by_apprise() as lines:
                # Not Apprise.notify: its pool of threads would keep a program with a hung service from ending.
                arrived = self.server.notify(
                    title=message.title, body=message.text or message.title, notify_type=_KINDS[message.event]
                )
            reason = lines[-1] if lines else "apprise could not deliver it"
            outcome.append("" if arrived else _masked(reason, self.hidden))

        thread = Thread(target=deliver, daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return f"no answer within {seconds:.3g} s"
        return outcome[0] if outcome else "apprise failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start; the message comes on its stdin and in its environment."""

    label: str
    hidden: Mapping[str, str]
    """By what stands for it in the manifest: the values taken from the environment."""
    words: tuple[str, ...]

    def tell(self, message: Message, seconds: float) -> str:
        """Run it. One that ends with 0 counts as told, also when something it started goes on."""
        process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # not a file: the disk may be what is full
            env=os.environ | message.variables(),
        )
        said = Tail(process.stderr)
        with suppress(OSError):  # it may not read its stdin
            assert process.stdin is not None
            process.stdin.write(message.json())
            process.stdin.close()
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"not done within {seconds:.3g} s, and ended"
        if process.returncode == 0:
            return ""
        name, last = signal_name(process.returncode), said.last_line()
        how = f"it was ended by {name}" if name else f"it ended with code {process.returncode}"
        return how + (f": {_masked(last, self.hidden)}" if last else "")


def check(targets: Sequence[str], seconds: float = SECONDS) -> Notifier:
    """Who is told, from ``notify:`` and ``--notify``; a target named twice is told once.

    ``seconds`` is how long one of them may take for one message. Raises :class:`UserError` with all that is
    wrong: a URL that apprise does not understand or apprise itself missing, a command that is not there, a
    variable that is not set.
    """
    found: list[Target] = []
    problems = []
    for text in dict.fromkeys(targets):
        try:
            found.append(_target(text))
        except UserError as error:
            problems.append(f"notify: {error}")
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return Notifier(found, seconds)


def _target(text: str) -> Target:
    if not text.strip():
        raise UserError("an entry is empty; write a URL or a command")
    url = _expanded(text.strip())
    return _service(url) if _URL.match(url) else _command(text)


def _expanded(text: str) -> str:
    """``$NAME`` and ``${NAME}`` from the environment, so that secrets need not stand in a file."""
    template = Template(text)
    for name in template.get_identifiers():
        if not os.environ.get(name):
            raise UserError(f"{_label(text)}: ${name} is not set; set it, or write $$ for a dollar sign")
    try:
        return template.substitute(os.environ)
    except ValueError:
        raise UserError(f"{_label(text)}: a lone $; write $$ for a dollar sign, or $NAME") from None


def _label(text: str) -> str:
    """What may be shown of a target: the program, or a URL's scheme."""
    head, url, _ = text.split(maxsplit=1)[0].partition("://")
    return f"{head}://…" if url else head


def _command(text: str) -> Command:
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError:
        raise UserError(f"{_label(text)}: a quotation mark is left open") from None
    if os.name == "nt":  # where shlex leaves the quotation marks around a word
        words = [word[1:-1] if len(word) > 1 and word[0] == word[-1] in ("'", '"') else word for word in words]
    program, *arguments = [_expanded(word) for word in words]
    path = shutil.which(program)
    if path is None:
        raise UserError(f"the command {words[0]} is not found; write its full path, or put it on the PATH")
    names = {name for word in words for name in Template(word).get_identifiers()}
    return Command(
        label=words[0],
        hidden={os.environ[name]: f"${name}" for name in sorted(names)},
        words=(str(Path(path).absolute()), *arguments),
    )


def _service(url: str) -> Service:
    try:
        from apprise import Apprise, AppriseAsset
    except ImportError:
        remedy = install.packages(["apprise"])
        raise UserError(f"{_label(url)} needs the package apprise; install it with\n    {remedy}") from None
    # Its own lines would come between those of the run; what they say stands in the warnings.
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    server = Apprise.instantiate(url, asset=AppriseAsset(app_id="run_batch"))
    if server is None:
        from apprise.manager_plugins import NotificationManager

        scheme, known = url.partition("://")[0].lower(), NotificationManager().schemas()
        near = get_close_matches(scheme, known, 1)
        hint = f"did you mean {near[0]}://?" if near else "no service has that name"
        if scheme in ("http", "https"):
            hint = f"for a web hook write json{scheme.removeprefix('http')}://HOST/PATH"
        elif scheme in known:
            hint = "a part of the address is missing or wrong"
        raise UserError(f"apprise does not understand {_label(url)}; {hint} (https://appriseit.com/services/)")
    return Service(
        label=_label(url), hidden=tuple(re.findall(r"[\w.~%-]{3,}", url.partition("://")[2])), server=server
    )


@contextmanager
def _said_by_apprise() -> Iterator[list[str]]:
    """The warnings that apprise logs in this thread: why something did not arrive."""
    lines: list[str] = []
    here = get_ident()

    class Capture(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == here:
                lines.append(record.getMessage())

    capture = Capture(logging.WARNING)
    logger = logging.getLogger("apprise")
    logger.addHandler(capture)
    try:
        yield lines
    finally:
        logger.removeHandler(capture)


def _masked(text: str, hidden: Sequence[str] | Mapping[str, str]) -> str:
    """``text`` without what is secret, nor what follows the scheme of any URL in it."""
    text = re.sub(_URL.pattern + r"[^\s'\"]*", r"\1://…", text)
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, hidden[secret] if isinstance(hidden, Mapping) else "…")
    return text[:300]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it has started, which would go on by itself."""
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
