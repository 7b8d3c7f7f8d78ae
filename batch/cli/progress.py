"""What a run shows while it goes on: bars on a terminal, plain lines elsewhere, JSON events on request.

Each is a :class:`~batch.records.events.Listener`.
"""

from __future__ import annotations

import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Never, TextIO

from tqdm import tqdm

from batch.base.text import duration, one_line, plural, visible
from batch.cli.terminal import json_text
from batch.records.events import (
    Beat,
    Began,
    Closed,
    Downloading,
    Encoded,
    Event,
    Happening,
    LeftOut,
    Listener,
    Loading,
    Received,
)
from batch.records.kinds import Stage, Status
from batch.records.receipts import Outcome

EVERY_S = 1.0
"""Between two JSON events that tell how many texts are encoded."""


def listener(*, quiet: bool, as_json: bool) -> Listener:
    """The right one for the options and the terminal."""
    if as_json:
        return JsonEvents()
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal over work that says how many of how many are done; elsewhere nothing."""
    with tqdm(unit=unit, leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


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


class Silent:
    """Shows nothing (``--quiet``)."""

    def on(self, event: Event) -> None:
        """Nothing to show."""


class Lines:
    """One plain line per image on stderr, for logs."""

    def __init__(self) -> None:
        self._total = self._count = 0
        self._began = self._last = monotonic()
        self._seconds: deque[float] = deque(maxlen=20)
        self._measures = False

    def on(self, event: Event) -> None:
        """Show what is worth a line."""
        match event:
            case Downloading(text):
                self._say(text)
            case Began():
                self._total, self._measures = event.to_render, event.measures
                self._began = monotonic()
                for warning in event.warnings:
                    self._say(f"warning: {warning}")
                images = plural(self._total, "image")
                self._say(f"{event.name}: {images} to render, {event.done} done before, in {event.folder}")
            case Loading(texts):  # it may take minutes: say so
                self._say("loading the model" + (f", encoding {plural(texts, 'text')}" if texts else ""))
                self._last = monotonic()
            case Encoded(text, texts):  # many take minutes before the first image: say so now and then
                if texts > 20 and (text % 100 == 0 or text == texts):
                    self._say(f"encoded {text} of {texts} texts")
                self._last = monotonic()
            case Happening():
                self._say(f"note: {event.text}")
            case Outcome():
                self._finished(event)
            case LeftOut(count):
                self._total -= count

    def _finished(self, outcome: Outcome) -> None:
        """Number, name, seconds, memory and time left."""
        self._count += 1
        now = monotonic()
        taken = now - self._last
        if self._count == 1 and outcome.receipt is not None:
            # Loading and the encoding of all texts lie before the first image, not before each.
            taken = min(taken, outcome.receipt.measurement.total_s)
        self._seconds.append(taken)
        self._last = now
        each = statistics.median(self._seconds)
        if self._measures:  # where every few images a process is started, and loads
            each = (self._last - self._began) / self._count
        left = duration((self._total - self._count) * each)
        rest = f"{left} left" if self._count < self._total else "last one"
        self._say(f"[{self._count}/{self._total}] {described(outcome)}, {rest}")

    def _say(self, text: str) -> None:
        sys.stderr.write(one_line(visible(text)) + "\n")
        sys.stderr.flush()


class Bars:
    """Two bars on a terminal: the images of the run, the steps of the current one."""

    def __init__(self) -> None:
        self._lines = Lines()  # until the bars begin
        self._total = 0
        self._images: tqdm[Never] | None = None
        self._steps: tqdm[Never] | None = None
        self._download = DownloadBar(sys.stderr)

    def on(self, event: Event) -> None:
        """Move the bars; what stays on the screen stands above them."""
        self._download.on(event)
        match event:
            case Downloading() | Received():
                pass
            case Began():
                self._total = event.to_render
                self._lines.on(event)
            case LeftOut(count):
                self._total -= count
                if self._images is not None:
                    self._images.total = self._total
                    self._images.refresh()
            case Closed():  # the upper bar stays, the lower one is cleared
                for bar in (self._steps, self._images):
                    if bar is not None:
                        bar.close()
            case _ if self._images is None or self._steps is None:
                self._lines.on(event)
                if isinstance(event, Loading):  # a measurement loads for every setting, and keeps the bars
                    self._images = tqdm(
                        total=self._total, unit="image", dynamic_ncols=True, desc="images", position=0
                    )
                    self._steps = tqdm(
                        total=1, unit="step", dynamic_ncols=True, desc="starting", position=1, leave=False
                    )
            case _:
                self._move(event, self._images, self._steps)

    def _move(self, event: Event, images: tqdm[Never], steps: tqdm[Never]) -> None:
        match event:
            case Loading():
                self._lines.on(event)
            case Encoded(text, texts):  # the lower bar counts texts before the images begin
                self._step(steps, "encoding texts", text, texts)
            case Beat(name, Stage.DENOISE | Stage.RENDER, part, parts) if part:
                self._step(steps, name, part, parts)
            case Happening():
                images.write(one_line(visible(f"note: {event.text}")), file=sys.stderr)
            case Outcome():
                images.set_postfix_str(memory(event), refresh=False)
                images.update()
                if event.status == Status.FAILED:
                    images.write(one_line(visible(described(event))), file=sys.stderr)

    @staticmethod
    def _step(bar: tqdm[Never], name: str, step: int, steps: int) -> None:
        if step == 1 or bar.total != steps:
            bar.reset(total=steps)
            bar.set_description_str(one_line(visible(name))[:40], refresh=False)
        bar.n = step
        bar.refresh()


class DownloadBar:
    """Downloads: lines, and on a terminal a bar over the bytes of a model, for a log would get a line per step."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._bar: tqdm[Never] | None = None

    def on(self, event: Event) -> None:
        """Shows what is about downloads."""
        match event:
            case Downloading(text):
                tqdm.write(one_line(visible(text)), file=self._lines)
                self._lines.flush()
            case Received(name, done, total):
                self._show(name, done, total)
            case Closed():
                self._close()

    def _show(self, name: str, done: int, total: int) -> None:
        if self._bar is None and sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                desc=one_line(visible(name))[:40],
                leave=False,
            )
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        if done >= total:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class JsonEvents:
    """One JSON object a line on stdout (``--json``)."""

    def __init__(self) -> None:
        self._encoded = 0.0
        """When it was last told how many texts are encoded."""

    def on(self, event: Event) -> None:
        """Events ``fetch``, ``start``, ``loading``, ``encoded`` and ``image``, and one by what happened."""
        match event:
            case Downloading(text):
                self.emit("fetch", text=text)
            case Began():
                self.emit(
                    "start", name=event.name, folder=str(event.folder), total=event.total, done=event.done,
                    to_render=event.to_render, warnings=list(event.warnings),
                )  # fmt: skip
            case Loading(texts):
                self.emit("loading", texts=texts)
            case Encoded(text, texts):
                if text == texts or monotonic() - self._encoded >= EVERY_S:
                    self._encoded = monotonic()
                    self.emit("encoded", text=text, texts=texts)
            case Happening():
                self.emit(event.kind, text=event.text, task_id=event.task or None, **event.data)
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
                )

    @staticmethod
    def emit(event: str, **data: object) -> None:
        """Write one event."""
        sys.stdout.write(json_text({"event": event, **data}) + "\n")
        sys.stdout.flush()
