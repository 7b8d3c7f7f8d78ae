"""What a run, or a queue of them, comes to: a few plain lines for whoever looks at seven in the morning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.base.text import duration, one_line, plural
from batch.records.events import Expected
from batch.records.receipts import Outcome

if TYPE_CHECKING:
    from batch.records.events import Event
    from batch.records.receipts import ErrorInfo, Receipt
    from batch.run.options import Result
    from batch.run.queue import Entry

CAUSES = 4
"""Why images failed: so many causes are named."""

LETTERS = 160
"""Of a line that quotes somebody else: an error, a reason."""

MANY = 5
"""Images from which on one of them is called the slowest."""


@dataclass(slots=True)
class Account:
    """What the images of one run took, and why they failed."""

    images: int = 0
    degraded: int = 0
    """Rendered with a smaller memory setting than the one asked for."""
    energy_j: float = 0.0
    measured: int = 0
    """Images of which the energy is known."""
    slowest: tuple[str, float] | None = None
    """Name and seconds."""
    last: Receipt | None = None
    failed: dict[str, ErrorInfo] = field(default_factory=dict)
    """By the image's id."""
    rest_s: float | None = None
    """What is left takes so long, as far as that is known."""

    def on(self, event: Event) -> None:
        """Learn from whatever comes up."""
        if isinstance(event, Expected):
            self.rest_s = event.seconds
        elif isinstance(event, Outcome):
            self._outcome(event)

    def _outcome(self, outcome: Outcome) -> None:
        self.failed.pop(outcome.key, None)  # it was tried again
        if outcome.failure is not None and not outcome.failure.is_result:
            self.failed[outcome.key] = outcome.failure.error
        if outcome.receipt is not None:
            self._done(outcome.receipt)

    def _done(self, receipt: Receipt) -> None:
        cost = receipt.measurement
        self.images += 1
        self.last = receipt
        self.degraded += bool(receipt.degraded_from)
        if cost.energy_j is not None:
            self.energy_j += cost.energy_j
            self.measured += 1
        if self.slowest is None or cost.total_s > self.slowest[1]:
            self.slowest = (receipt.task.name, cost.total_s)

    @property
    def wh(self) -> float:
        """Energy in watt-hours."""
        return self.energy_j / 3600

    @property
    def causes(self) -> list[tuple[str, int]]:
        """Why images failed and how many, the most frequent first; figures in a message tell no causes apart."""
        said: dict[str, str] = {}
        counted: Counter[str] = Counter()
        for error in self.failed.values():
            text = f"{error.stage}: {error.message}" if error.stage else error.message
            cause = f"{error.kind} {re.sub(r'[0-9]+', '', text)}"
            said.setdefault(cause, text)
            counted[cause] += 1
        return [(said[cause], count) for cause, count in counted.most_common()]


def title(name: str, result: Result) -> str:
    """A run in a few words."""
    failed = f", {result.failed} failed" if result.failed else ""
    return f"{name}: {result.done} of {result.total} done{failed}"


def lines(result: Result) -> list[str]:
    """A run in about ten lines of plain text."""
    lost = [result.lost_in_words] if result.lost else []
    return [*_why_stopped(result), rendered(result), *lost, *details(result)]


def rendered(result: Result) -> str:
    """How many images in which time."""
    said = f"{plural(result.rendered, 'image')} rendered in {duration(result.seconds)}"
    return f"{said}, {_per_hour(result.rendered, result.seconds)}" if result.rendered >= MANY else said


def details(result: Result) -> Iterator[str]:
    """What one wants to know beside the numbers of images."""
    account = result.account
    yield from _causes(account, result.failed - len(account.failed))
    if account.degraded:
        yield f"{account.degraded} degraded: rendered with a smaller memory setting than the one asked for"
    yield from _energy([result])
    if account.slowest is not None and account.images >= MANY:
        name, seconds = account.slowest
        yield f"slowest: {name}, {duration(seconds)}"


def together(entries: Sequence[Entry]) -> list[str]:
    """All manifests of a queue in two or three lines."""
    results = [entry.result for entry in entries if entry.result is not None]
    images, seconds = sum(item.rendered for item in results), sum(item.seconds for item in results)
    total = f"in all: {plural(images, 'image')} rendered in {duration(seconds)}"
    if images >= MANY:
        total += f", {_per_hour(images, seconds)}"
    counts = {
        "failed": sum(item.failed for item in results),
        "degraded": sum(item.account.degraded for item in results),
        "left": sum(entry.result.left if entry.result else entry.images for entry in entries),
    }
    total += "".join(f", {count} {word}" for word, count in counts.items() if count)
    return [total, *_energy(results)]


def of(entry: Entry) -> str:
    """A manifest of a queue in a line."""
    if entry.result is None:
        state, why = "not begun" if entry.not_begun else "NOT RUN", "; ".join(entry.why.splitlines())
        return _short(f"{entry.manifest}: {state}: {why}")
    result = entry.result
    parts = [f"{result.done} of {result.total} done"]
    parts += [f"{result.failed} FAILED"] if result.failed else []
    parts.append(duration(result.seconds))
    parts += [_short(f"stopped: {result.stopped}")] if result.stopped is not None else []
    where = result.report.html if result.report is not None else result.folder
    return f"{entry.manifest}: {', '.join(parts)}; {where}"


def _why_stopped(result: Result) -> Iterator[str]:
    if result.stopped is None:
        return
    yield one_line(f"stopped: {result.stopped}")  # whole: it says what to do
    if result.left:
        rest = result.account.rest_s
        if rest is None and result.rendered:
            rest = result.seconds / result.rendered * result.left
        yield f"{result.left} left" + (f", about {duration(rest)} more" if rest is not None else "")


def _causes(account: Account, before: int) -> Iterator[str]:
    """Why images failed; ``before`` have failed in earlier runs."""
    for cause, count in account.causes[:CAUSES]:
        yield _short(f"{count} failed in {cause}")
    if rest := account.causes[CAUSES:]:
        yield f"{sum(count for _, count in rest)} failed for {plural(len(rest), 'other reason')}"
    if before > 0:
        yield f"{before} failed in earlier runs"


def _energy(results: Sequence[Result]) -> Iterator[str]:
    measured = sum(item.account.measured for item in results)
    if measured:
        wh = sum(item.account.wh for item in results)
        yield f"{wh:,.{0 if wh >= 100 else 1}f} Wh, {wh / measured:.2g} an image"


def _per_hour(images: int, seconds: float) -> str:
    return f"{images / seconds * 3600:,.0f} an hour" if seconds else "at once"


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}…"
