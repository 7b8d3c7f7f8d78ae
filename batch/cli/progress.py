"""What a run shows while it goes on: bars on a terminal, lines with the time elsewhere, JSON events on request.

Each is a :class:`~batch.records.events.Listener`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from time import monotonic

from batch.base.text import at_seat, duration, one_line, plural
from batch.cli.countdown import Countdown
from batch.cli.terminal import json_text, put
from batch.records.events import (
    Began,
    Crew,
    Downloading,
    Encoded,
    Event,
    Expected,
    Happening,
    Loading,
    Preparing,
)
from batch.records.kinds import HappeningKind, Status
from batch.records.receipts import Outcome
from batch.run.whereabouts import Whereabouts

PATIENCE_S = 1.0
"""What is over sooner needs no line."""
ENCODING_S = 20.0
"""Between two lines about texts that are encoded."""
EVERY_S, MOMENT_S = 1.0, 5.0
"""Between two JSON events that tell how many texts are encoded, and when the run is expected to end."""


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal over work that says how many of how many are done; elsewhere nothing."""
    from tqdm import tqdm

    shape = f"{{n_fmt}} of {{total_fmt}} {unit}s |{{bar}}| {{remaining}} left"
    with tqdm(leave=False, dynamic_ncols=True, bar_format=shape, disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def say(text: str) -> None:
    """A line on stderr, folded on a terminal; in a log it begins with the time. Raises OSError."""
    at = "" if sys.stderr.isatty() else f"{datetime.now().astimezone():%H:%M:%S} "
    put(f"{at}{one_line(text)}", sys.stderr)


def memory(outcome: Outcome) -> str:
    """Peak memory of an image: on the device where that is known, else the process's own."""
    record = outcome.record
    if record is None:
        return ""
    peaks = record.measurement.together
    if on_device := peaks.device or peaks.reserved:
        return f"{on_device / 2**30:.1f} GiB VRAM"
    return f"{peaks.rss / 2**30:.1f} GiB RAM" if peaks.rss else ""


def described(outcome: Outcome) -> str:
    """One image in a line."""
    if outcome.receipt is not None:
        cost = outcome.receipt.measurement
        parts = [duration(cost.total_s), memory(outcome), "degraded" if outcome.receipt.degraded_from else ""]
        return f"{Path(outcome.receipt.file.path).stem}: {', '.join(filter(None, parts))}"
    if outcome.failure is not None:
        error, task = outcome.failure.error, outcome.failure.task
        if outcome.failure.is_result:
            return f"{task.name}: out of memory in {error.stage}: {error.message}"
        return f"{task.name}: FAILED in {error.stage}: {error}"
    return outcome.key


def _at(seat: str) -> dict[str, str]:
    """Of an event of a run that has several devices: the one that it happened at."""
    return {"seat": seat} if seat else {}


class Silent:
    """Shows nothing, to programs that watch a run by other means."""

    def on(self, event: Event) -> None:
        """Nothing to show."""


class Quiet:
    """Only what a person must know (``--quiet``): warnings, failures, and that it pauses or stops."""

    def on(self, event: Event) -> None:
        """How it ended is said by the command."""
        match event:
            case Began():
                for warning in event.warnings:
                    say(f"warning: {warning}")
            case Happening(kind=HappeningKind.STOPPING | HappeningKind.PAUSED | HappeningKind.RESUMED):
                say(event.text + event.hint)
            case Outcome(status=Status.FAILED):
                say(described(event))


class Late:
    """Says what goes on before anything is loaded, and after the last image, once that has taken a second."""

    def __init__(self) -> None:
        self._timer: Timer | None = None
        self._begun: set[str] = set()

    def on(self, event: Event) -> None:
        """Whatever comes next ends what went on. What begins again in one run is not said again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if isinstance(event, Began):
            self._begun.clear()
        if isinstance(event, Preparing) and event.text not in self._begun:
            self._begun.add(event.text)
            self._timer = Timer(PATIENCE_S, _say_late, [f"{event.text} …"])
            self._timer.daemon = True
            self._timer.start()


def _say_late(text: str) -> None:
    with suppress(OSError, ValueError):  # the terminal may be gone
        say(text)


class Lines:
    """A line per image and for what is worth one on stderr, for logs."""

    def __init__(self) -> None:
        self._countdown, self._late = Countdown(), Late()
        self._where = Whereabouts()
        self._said = monotonic()
        """When something was said of the texts."""

    def on(self, event: Event) -> None:
        """Show what is worth a line."""
        self._countdown.on(event)
        self._where.on(event)
        self._late.on(event)
        match event:
            case Downloading(text):
                say(text)
            case Began():
                announce(event)
            case Loading(texts, loaded):  # it may take minutes: say so
                if not loaded:
                    say("loading the model" + (f", encoding {plural(texts, 'text')}" if texts else ""))
                self._said = monotonic()
            case Encoded(text, texts):
                if monotonic() - self._said >= ENCODING_S:
                    say(f"encoded {text} of {plural(texts, 'text')}")
                    self._said = monotonic()
            case Happening():
                say(f"note: {at_seat(event.text, self._where.label(event.seat))}{event.hint}")
            case Outcome():
                count = f"[{self._countdown.count}/{self._countdown.total}]"
                where = f"on {seat}" if (seat := self._where.left(event.key)) else ""
                say(", ".join(filter(None, [f"{count} {described(event)}", where, self._countdown.rest])))


def announce(began: Began) -> None:
    """What is to be known before a run, and what is to be rendered."""
    for warning in began.warnings:
        say(f"warning: {warning}")
    say(f"{began.name}: {plural(began.to_render, 'image')} to render, {began.done} done before, in {began.folder}")


class JsonEvents:
    """One JSON object a line on stdout (``--json``); of several manifests each says of which ``run``."""

    def __init__(self, run: str = "") -> None:
        self._run = {"run": run} if run else {}
        self._where = Whereabouts()
        self._emitted: dict[type[Event], float] = {}
        """When something of the kinds that come often was emitted."""

    def on(self, event: Event) -> None:
        """See ``--json`` in docs/commands.md."""
        self._where.on(event)
        match event:
            case Preparing(text):
                self.emit("preparing", text=text)
            case Encoded(text=text, texts=texts):
                if text == texts or self._is_due(event, EVERY_S):
                    self.emit("encoded", text=text, texts=texts)
            case Expected():
                if self._is_due(event, MOMENT_S):
                    self._emit_expected(event)
            case Downloading(text):
                self.emit("fetch", text=text)
            case Began():
                self.emit(
                    "start", name=event.name, folder=str(event.folder), total=event.total, done=event.done,
                    to_render=event.to_render, warnings=list(event.warnings),
                )  # fmt: skip
            case Crew(seats) if len(seats) > 1:
                self.emit("devices", seats=[asdict(seat) for seat in seats])
            case Loading(texts, loaded):
                self.emit("loading", texts=texts, loaded=loaded)
            case Happening():
                seat = _at(self._where.label(event.seat))
                self.emit(event.kind, text=event.text, task_id=event.task or None, **event.data, **seat)
            case Outcome():
                receipt, error = event.receipt, event.error
                self.emit(
                    "image",
                    task_id=event.key,
                    status=event.status,
                    file=receipt.file.path if receipt else None,
                    seconds=round(receipt.measurement.total_s, 3) if receipt else None,
                    error=str(error) if error else None,
                    stage=error.stage if error else None,
                    **_at(self._where.left(event.key)),
                )

    def _is_due(self, event: Event, seconds: float) -> bool:
        now, before = monotonic(), self._emitted.get(type(event))
        due = before is None or now - before >= seconds
        if due:
            self._emitted[type(event)] = now
        return due

    def _emit_expected(self, event: Expected) -> None:
        end = None
        if event.ends_s is not None:
            end = (datetime.now(UTC) + timedelta(seconds=event.ends_s)).isoformat(timespec="seconds")
        cutoff = event.cutoff
        self.emit(
            "expected", seconds=event.seconds, ends_at=end, ends_by=cutoff.limit if cutoff else None,
            ends_with=cutoff.images if cutoff else None, source=event.source, image_s=event.image_s,
            per_hour=event.per_hour,
        )  # fmt: skip

    def emit(self, event: str, **data: object) -> None:
        """Write one event."""
        sys.stdout.write(json_text({"event": event, **self._run, **data}) + "\n")
        sys.stdout.flush()
