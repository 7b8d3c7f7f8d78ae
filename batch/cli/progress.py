"""What a run shows while it goes on: bars on a terminal, plain lines elsewhere, JSON events on request."""

from __future__ import annotations

import json
import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from batch.base.text import duration, plural
from batch.records import Happening, Outcome

if TYPE_CHECKING:
    from batch.plan import Plan
    from batch.run.remaining import Standing


def program() -> str:
    """How this program was called, for hints that can be pasted."""
    called = Path(sys.argv[0]).name
    return "python run_batch.py" if called == "run_batch.py" else "run-batch"


def memory(outcome: Outcome) -> str:
    """Peak memory of an image: on the device where that is known, else the process's own."""
    record = outcome.receipt or outcome.failure
    if record is None:
        return ""
    for kind, title in (("device", "VRAM"), ("reserved", "VRAM"), ("rss", "RAM")):
        value = record.measurement.peak(kind)  # type: ignore[arg-type]
        if value:
            return f"{value / 2**30:.1f} GiB {title}"
    return ""


@contextmanager
def counting(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal over work that says how many of how many are done; elsewhere nothing."""
    with tqdm(unit=unit, leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


class Silent:
    """Shows nothing (``--quiet``), and the base of the others."""

    def fetching(self, text: str) -> None:
        """Nothing to show."""

    def received(self, name: str, done: int, total: int) -> None:
        """Nothing to show."""

    def started(self, plan: Plan, standing: Standing, folder: Path) -> None:
        """Nothing to show."""

    def loading(self, texts: int) -> None:
        """Nothing to show."""

    def encoding(self, text: int, texts: int) -> None:
        """Nothing to show."""

    def step(self, name: str, step: int, steps: int) -> None:
        """Nothing to show."""

    def happened(self, happening: Happening) -> None:
        """Nothing to show."""

    def finished(self, outcome: Outcome) -> None:
        """Nothing to show."""

    def left_out(self, count: int) -> None:
        """Nothing to show."""

    def closed(self) -> None:
        """Nothing to show."""


class Lines(Silent):
    """One plain line per image on stderr, for logs."""

    def __init__(self) -> None:
        self._total = self._count = 0
        self._began = self._last = monotonic()
        self._seconds: deque[float] = deque(maxlen=20)
        self._measures = False

    def fetching(self, text: str) -> None:
        """A line."""
        self._say(text)

    def started(self, plan: Plan, standing: Standing, folder: Path) -> None:
        """The first line says what will be done, and what is done already."""
        self._total = len(standing.to_render)
        self._measures = plan.kind == "measure"
        self._began = monotonic()
        for warning in plan.warnings:
            self._say(f"warning: {warning}")
        self._say(
            f"{plan.name}: {plural(self._total, 'image')} to render, {standing.done} done before, in {folder}"
        )

    def loading(self, texts: int) -> None:
        """Loading may take minutes: say so."""
        self._say("loading the model" + (f", encoding {plural(texts, 'text')}" if texts else ""))
        self._last = monotonic()

    def encoding(self, text: int, texts: int) -> None:
        """Many texts take minutes before the first image: say so now and then."""
        if texts > 20 and (text % 100 == 0 or text == texts):
            self._say(f"encoded {text} of {texts} texts")
        self._last = monotonic()

    def happened(self, happening: Happening) -> None:
        """A line."""
        self._say(f"note: {happening.text}")

    def finished(self, outcome: Outcome) -> None:
        """Number, name, seconds, memory and time left."""
        self._count += 1
        now = monotonic()
        taken = now - self._last
        if self._count == 1 and outcome.receipt is not None:
            # Loading and the encoding of all texts lie before the first image, not before each.
            taken = min(taken, outcome.receipt.measurement.total_s)
        self._seconds.append(taken)
        self._last = now
        self._say(f"[{self._count}/{self._total}] {described(outcome)}, {self._left()}")

    def left_out(self, count: int) -> None:
        """Fewer to come."""
        self._total -= count

    def _left(self) -> str:
        each = statistics.median(self._seconds)
        if self._measures:  # where every few images a process is started, and loads
            each = (self._last - self._began) / self._count
        left = (self._total - self._count) * each
        return f"{duration(left)} left" if self._count < self._total else "last one"

    def _say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def described(outcome: Outcome) -> str:
    """One image in a line."""
    if outcome.receipt is not None:
        cost = outcome.receipt.measurement
        parts = [duration(cost.total_s), memory(outcome), "degraded" if outcome.receipt.degraded_from else ""]
        return f"{Path(outcome.receipt.file.path).stem}: {', '.join(filter(None, parts))}"
    if outcome.failure is not None:
        error, task = outcome.failure.error, outcome.failure.task
        if task.repeat is not None and outcome.failure.out_of_memory:
            return f"{task.name}: out of memory in {error.stage}: {error.message}"
        return f"{task.name}: FAILED in {error.stage}: {error.kind}: {error.message}"
    return outcome.key


class Bars(Lines):
    """Two bars on a terminal: the images of the run, the steps of the current one."""

    def __init__(self) -> None:
        super().__init__()
        self._images: Any = None
        self._steps: Any = None
        self._download = Download()

    def fetching(self, text: str) -> None:
        """Stays on the screen above the bar."""
        self._download.say(text, sys.stderr)

    def received(self, name: str, done: int, total: int) -> None:
        """Move the bar of that model."""
        self._download.show(name, done, total)

    def loading(self, texts: int) -> None:
        """The bars begin with the work."""
        super().loading(texts)
        if self._images is not None:  # a measurement loads for every setting
            return
        self._images = tqdm(total=self._total, unit="image", position=0, dynamic_ncols=True, desc="images")
        self._steps = tqdm(total=1, unit="step", position=1, leave=False, dynamic_ncols=True, desc="starting")

    def encoding(self, text: int, texts: int) -> None:
        """The lower bar counts texts before the images begin."""
        if self._steps is not None:
            self.step("encoding texts", text, texts)
        self._last = monotonic()

    def happened(self, happening: Happening) -> None:
        """Stays on the screen above the bars."""
        if self._images is None:
            super().happened(happening)
        else:
            self._images.write(f"note: {happening.text}", file=sys.stderr)

    def step(self, name: str, step: int, steps: int) -> None:
        """Move the lower bar."""
        if self._steps is None:
            return
        if step == 1 or self._steps.total != steps:
            self._steps.reset(total=steps)
            self._steps.set_description_str(name[:40], refresh=False)
        self._steps.n = step
        self._steps.refresh()

    def finished(self, outcome: Outcome) -> None:
        """Move the upper bar; a failure stays on the screen."""
        if self._images is None:
            super().finished(outcome)
            return
        self._images.set_postfix_str(memory(outcome), refresh=False)
        self._images.update()
        if outcome.status == "failed":
            self._images.write(described(outcome), file=sys.stderr)

    def left_out(self, count: int) -> None:
        """A shorter upper bar."""
        super().left_out(count)
        if self._images is not None:
            self._images.total = self._total
            self._images.refresh()

    def closed(self) -> None:
        """Leave the upper bar, clear the lower one."""
        self._download.close()
        for bar in (self._steps, self._images):
            if bar is not None:
                bar.close()


class Download:
    """A bar over the bytes of a model on a terminal; elsewhere nothing, for a log would get a line per step."""

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, name: str, done: int, total: int) -> None:
        """So many bytes of so many are there."""
        if self._bar is None and sys.stderr.isatty():
            self._bar = tqdm(
                total=total, unit="B", unit_scale=True, dynamic_ncols=True, desc=name[:40], leave=False
            )
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        if done >= total:
            self.close()

    def say(self, text: str, file: Any) -> None:
        """A line above the bar."""
        tqdm.write(text, file=file)
        file.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Fetching(Silent):
    """What ``fetch`` shows: lines on stdout, a bar on a terminal."""

    def __init__(self) -> None:
        self._download = Download()

    def fetching(self, text: str) -> None:
        """A line."""
        self._download.say(text, sys.stdout)

    def received(self, name: str, done: int, total: int) -> None:
        """Move the bar of that model."""
        self._download.show(name, done, total)

    def closed(self) -> None:
        """Free the terminal."""
        self._download.close()


class Events(Silent):
    """One JSON object a line on stdout (``--json``)."""

    def fetching(self, text: str) -> None:
        """Event ``fetch``."""
        self.emit("fetch", text=text)

    def started(self, plan: Plan, standing: Standing, folder: Path) -> None:
        """Event ``start``."""
        self.emit(
            "start",
            name=plan.name,
            folder=str(folder),
            total=len(plan.tasks),
            done=standing.done,
            to_render=len(standing.to_render),
            warnings=list(plan.warnings),
        )

    def loading(self, texts: int) -> None:
        """Event ``loading``."""
        self.emit("loading", texts=texts)

    def happened(self, happening: Happening) -> None:
        """An event by the kind of what happened."""
        self.emit(happening.kind, text=happening.text, task_id=happening.task or None, **happening.data)

    def finished(self, outcome: Outcome) -> None:
        """Event ``image``."""
        receipt, error = outcome.receipt, outcome.error
        self.emit(
            "image",
            task_id=outcome.key,
            status=outcome.status,
            file=receipt.file.path if receipt else None,
            seconds=round(receipt.measurement.total_s, 3) if receipt else None,
            error=f"{error.kind}: {error.message}" if error else None,
            stage=error.stage if error else None,
        )

    @staticmethod
    def emit(event: str, **data: object) -> None:
        """Write one event."""
        sys.stdout.write(json.dumps({"event": event, **data}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def watcher(*, quiet: bool, as_json: bool) -> Silent:
    """The right one for the options and the terminal."""
    if as_json:
        return Events()
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()
