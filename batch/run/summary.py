"""What a run, or a queue of them, comes to: a few plain lines for whoever looks at seven in the morning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from batch.base.errors import LimitReached, ManifestError
from batch.base.text import duration, one_line, plural, roughly

if TYPE_CHECKING:
    from batch.run.account import Account
    from batch.run.options import QueueEntry, Result

CAUSES = 4
"""Why images failed: so many causes are named."""

LETTERS = 160
"""Of a line that quotes somebody else: an error, a reason."""

DEVICES = 8
"""So many are told one by one."""

SHARDS = 4
"""So many of those that lack images are told one by one."""

MANY = 5
"""Images from which on one of them is called the slowest."""


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
    said, devices = _rate(result.rendered, result.seconds, result.account.paused_s), len(result.account.by_seat)
    return f"{said} on {devices} devices together" if devices > 1 and result.rendered >= MANY else said


def time_taken(seconds: float, paused_s: float) -> str:
    """So many seconds less those of its pauses, which are said beside it: ``13.0s, not counting …``."""
    pause = f" (not counting a pause of {duration(paused_s)})" if paused_s else ""
    return duration(max(0.0, seconds - paused_s)) + pause


def details(result: Result) -> Iterator[str]:
    """What one wants to know beside the numbers of images."""
    account = result.account
    yield from _causes(account, result.failed - len(account.failed))
    if account.degraded:
        yield f"{account.degraded} degraded: rendered with a smaller memory setting than the one asked for"
    yield from _devices(account)
    yield from _energy([result])
    if account.slowest is not None and account.images >= MANY:
        name, seconds = account.slowest
        yield f"slowest: {name}, {duration(seconds)}"


def of_other_shards(result: Result) -> Iterator[str]:
    """What of the whole is left beside this part."""
    if result.shard is None or result.others is None:
        return
    missing = result.total - result.done
    part = f"shard {result.shard} lacks {plural(missing, 'image')}" if missing else f"shard {result.shard} is done"
    if not result.others:
        yield f"{part}; all images of the other shards are there"
        return
    yield f"{part}; of all {plural(result.whole, 'image')} other shards lack {result.elsewhere}:"
    for other in result.others[:SHARDS]:
        then = " and is at work" if other.at_work else f": the same command with --shard {other.shard} renders "
        then += "" if other.at_work else "it" if other.missing == 1 else "them"
        yield f"  shard {other.shard} lacks {other.missing}{then}"
    if more := result.others[SHARDS:]:
        lack = f"lack{'s' * (len(more) == 1)} {sum(other.missing for other in more)}"
        yield f"  {plural(len(more), 'more shard')} {lack}; `status` names them"


def together(entries: Sequence[QueueEntry]) -> list[str]:
    """All manifests of a queue in two or three lines."""
    results = [entry.result for entry in entries if entry.result is not None]
    images, seconds = sum(item.rendered for item in results), sum(item.seconds for item in results)
    paused = sum(item.account.paused_s for item in results)
    total = f"in all: {_rate(images, seconds, paused)}" if results else "nothing was run"
    counts = {
        "failed": sum(item.failed for item in results),
        "degraded": sum(item.account.degraded for item in results),
        "left": sum(entry.left for entry in entries),
    }
    total += "".join(f", {count} {word}" for word, count in counts.items() if count)
    not_run = sum(entry.left_out for entry in entries)
    total += f", {plural(not_run, 'manifest')} NOT RUN" if not_run and results else ""
    return [total, *_energy(results)]


def of(entry: QueueEntry) -> str:
    """A manifest of a queue in a line."""
    if entry.result is None:
        state = "not begun" if entry.not_begun else "NOT RUN"
        state += f", {entry.done} of {entry.images} done" if entry.done else ""
        return f"{one_line(str(entry.manifest))}: {state}: {_short(_why_not(entry))}"
    result = entry.result
    parts = [f"{result.done} of {result.total} done"]
    parts += [f"{result.failed} FAILED"] if result.failed else []
    parts.append(time_taken(result.seconds, result.account.paused_s))
    if result.stopped is not None:
        why = result.stopped.limit if isinstance(result.stopped, LimitReached) else result.stopped
        parts.append(_short(f"stopped: {why}"))
    where = result.report.html if result.report is not None else result.folder
    return one_line(f"{entry.manifest}: {', '.join(parts)}; {where}")


def _why_not(entry: QueueEntry) -> str:
    """Of many problems the first, and how many more: all of them have been told."""
    if not isinstance(entry.error, ManifestError):
        return "; ".join(map(str.strip, entry.why.splitlines()))
    first, *others = entry.error.problems
    at = f"line {first.line}: " if first.line and first.source == str(entry.manifest) else ""
    said = f"{at}{first.message}" if at else str(first)
    return said + (f"; and {plural(len(others), 'more problem')}" if others else "")


def _why_stopped(result: Result) -> Iterator[str]:
    if result.stopped is None:
        return
    yield one_line(f"stopped: {result.stopped}")  # whole: it says what to do
    told = isinstance(result.stopped, LimitReached) and result.stopped.left
    if result.left:
        rest = result.account.rest_s
        parts = [] if told else [f"{result.left} left"]
        parts += [f"about {roughly(rest)} more"] if rest is not None else []
        if parts:
            yield ", ".join(parts)


def _causes(account: Account, before: int) -> Iterator[str]:
    """Why images failed; ``before`` have failed in earlier runs."""
    for cause, count in account.causes[:CAUSES]:
        yield _short(f"{count} failed in {cause}")
    if rest := account.causes[CAUSES:]:
        yield f"{sum(count for _, count in rest)} failed for {plural(len(rest), 'other reason')}"
    if before > 0:
        yield f"{before} failed in earlier runs"


def _devices(account: Account) -> Iterator[str]:
    """What each of several devices has rendered, and which of them were lost."""
    counts = account.by_seat
    if len(counts) > DEVICES:
        least, most = min(counts.values()), max(counts.values())
        span = f"{least} to " if least < most else ""
        yield f"on {len(counts)} devices, {span}{plural(most, 'image')} on each"
    elif len(counts) > 1:
        (first, images), *others = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        yield ", ".join(
            [f"{plural(images, 'image')} on {first}", *(f"{count} on {name}" for name, count in others)]
        )
    for lost in account.seats_lost:
        after = f"after {plural(lost.images, 'image')}" if lost.images else "before an image was done there"
        yield _short(f"{lost.label} was lost at {lost.at:%H:%M}, {after}: {lost.why}" if lost.label else lost.why)


def _energy(results: Sequence[Result]) -> Iterator[str]:
    measured = sum(item.account.measured for item in results)
    if measured:
        wh = sum(item.account.wh for item in results)
        yield f"{wh:.{0 if wh >= 100 else 1}f} Wh, {wh / measured:.2g} an image"


def _rate(images: int, seconds: float, paused_s: float) -> str:
    said, worked = f"{plural(images, 'image')} rendered in {time_taken(seconds, paused_s)}", seconds - paused_s
    if images < MANY:
        return said
    return said + (f", {images / worked * 3600:.0f} an hour" if worked > 0 else ", at once")


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 1]}…"
