"""Whom a run tells: services by their apprise URLs, and commands.

Targets are checked before a run starts, where a mistake is an error.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Template
from threading import Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Literal

from batch.base import install
from batch.base.errors import UserError
from batch.base.processes import Tail, signal_name
from batch.run import guard
from batch.run.notifier import LEFT, SECONDS, Notifier, NotifyEvent

if TYPE_CHECKING:
    from threading import Event

    from apprise import AppriseAttachment, NotifyBase

    from batch.run.notifier import Message, Target

LOOK_S = 0.1
"""Seconds between two looks whether somebody who is told is to be left."""

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
class Service:
    """A service that apprise knows."""

    label: str
    hidden: tuple[str, ...]
    server: NotifyBase

    def tell(self, message: Message, seconds: float, leave: Event) -> str:
        """Send through apprise, in a thread that is left behind when it hangs: no service can be interrupted."""
        outcome: list[str] = []

        def deliver() -> None:
            with _said_by_apprise() as lines:
                enclosed = self._enclosed(message)
                # One that takes no picture, or none so large, is told all the same.
                arrived = (enclosed is not None and self._sent(message, enclosed)) or self._sent(message)
            reason = lines[-1] if lines else "apprise could not deliver it"
            outcome.append("" if arrived else _masked(reason, self.hidden))

        thread = Thread(target=deliver, daemon=True)
        thread.start()
        end = monotonic() + seconds
        while thread.is_alive() and not leave.is_set() and monotonic() < end:
            thread.join(LOOK_S)
        if thread.is_alive():
            return LEFT if leave.is_set() else f"no answer within {seconds:.3g} s"
        return outcome[0] if outcome else "apprise failed"

    def _sent(self, message: Message, enclosed: AppriseAttachment | None = None) -> bool:
        # Not Apprise.notify: its pool of threads would keep a program with a hung service from ending.
        arrived: bool = self.server.notify(
            title=message.title,
            body=self._fitting(message),
            notify_type=_KINDS[message.event],
            attach=enclosed,
        )
        return arrived

    def _enclosed(self, message: Message) -> AppriseAttachment | None:
        if message.picture is None or not self.server.attachment_support:
            return None
        from apprise import AppriseAttachment
        from apprise.attachment.file import AttachFile

        # Not by its path alone, which would be read as a URL: "?" and "," in it mean something there.
        return AppriseAttachment(AttachFile(str(message.picture)))

    def _fitting(self, message: Message) -> str:
        """The text, less the lines for which the service has no room."""
        text = message.text or message.title
        # Without titles of its own the service gets the title as the first line.
        room = self.server.body_maxlen - (0 if self.server.title_maxlen else len(message.title) + 2)
        if len(text) <= room:
            return text
        whole, _, _ = text[: room - 1].rpartition("\n")
        return f"{whole or text[: room - 2]}\n…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to start; the message comes on its stdin and in its environment."""

    label: str
    hidden: Mapping[str, str]
    """By what stands for it in the manifest: the values taken from the environment."""
    words: tuple[str, ...]

    def tell(self, message: Message, seconds: float, leave: Event) -> str:
        """Run it. One that ends with 0 counts as told, also when something it started goes on."""
        process = subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # not a file: the disk may be what is full
            env=os.environ | message.variables(),
        )
        said = Tail(process.stderr)
        end = monotonic() + seconds
        with ExitStack() as stack:
            with suppress(OSError, RuntimeError):  # no room for a process more: it is told all the same
                stack.enter_context(guard.guarded(process.pid, seconds))
            with suppress(OSError):  # it may not read its stdin
                assert process.stdin is not None
                process.stdin.write(message.json())
                process.stdin.close()
            while process.poll() is None:
                if leave.is_set() or monotonic() >= end:
                    _end(process)
                    late = f"not done within {seconds:.3g} s, and ended"
                    return f"{LEFT}, and it is ended" if leave.is_set() else late
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=LOOK_S)
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
    """End a command with all that it has started."""
    import psutil

    with suppress(psutil.Error):
        guard.end(psutil.Process(process.pid))
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)
