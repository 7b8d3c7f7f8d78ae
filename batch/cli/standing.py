"""How far a run is, in words: what ``status`` prints, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.text import done_about, duration, gib, one_line, plural
from batch.cli import words
from batch.cli.terminal import program, quoted
from batch.cli.verify import ORPHANED

if TYPE_CHECKING:
    from batch.base.tables import Paragraph
    from batch.records.live import LiveStatus
    from batch.store.causes import Cause
    from batch.store.status import Summary

ORPHANS = 3
"""How many are named."""


def summary_parts(summary: Summary) -> Iterator[Paragraph]:
    """What ``status`` prints."""
    from batch.base.tables import Paragraph

    for line in map(one_line, _lines(summary)):
        yield Paragraph(line, "red" if line.lstrip().startswith(("FAILED", "OUT OF MEMORY")) else "")


def _lines(summary: Summary) -> Iterator[str]:
    yield f"{summary.name}: {summary.done} of {summary.total} done"
    if summary.now is not None:
        yield f"  {moment(summary.now)}"
    yield from _images(summary)
    yield from _processes(summary)
    yield from _pace(summary)
    if summary.happened:
        tally = ", ".join(f"{kind} {count}" for kind, count in summary.happened.items())
        yield f"  happened in the last run: {tally}"
    for event in summary.last_happenings:
        at = datetime.fromisoformat(event.time).astimezone()
        first = next(iter(event.text.splitlines()), "")
        yield f"    {at:%Y-%m-%d %H:%M:%S}  {first}"
    yield from _failures("OUT OF MEMORY", summary.unfit_causes, again(summary, "--retry-oom"))
    yield from _failures("FAILED", summary.causes, again(summary, "--retry-failed"))


def moment(now: LiveStatus) -> str:
    """What a run is at: ``rendering lighthouse-s42-5376x3072, denoising 7 of 20, 26.0s left of it``."""
    left = f"{duration(now.image_left_s)} left of it" if now.image_left_s else ""
    at = words.at_work(now.stage, now.part, now.parts)
    return ", ".join(
        filter(None, [f"{now.state} {now.image}".rstrip(), at if at != now.state else "", left, now.said])
    )


def again(summary: Summary, option: str) -> str:
    """The command that tries again what this option is for."""
    if not summary.source:
        return f"the same command with {option}"
    out = "" if Path(summary.root) == Path("outputs") / summary.name else f" --out {quoted(Path(summary.root))}"
    return f"{program()} run {quoted(Path(summary.source))}{out} {option}"


def _failures(what: str, causes: Sequence[Cause], command: str) -> Iterator[str]:
    """A line for each cause; then what tries them again."""
    for cause in causes:
        names = ", ".join(cause.images) + (", …" if cause.count > len(cause.images) else "")
        yield f"  {what} {plural(cause.count, 'image')}: {cause.stage}: {cause.message} ({names})"
    if causes:
        yield f"    try again: {command}"


def _pace(summary: Summary) -> Iterator[str]:
    """How fast it goes, what it takes, and when it will be done."""
    parts = []
    if summary.seconds_per_image is not None:
        parts.append(f"{words.rate(summary.seconds_per_image, 'image') or 'no time'} (median)")
    if summary.now is not None and summary.now.per_hour:
        parts.append(f"{summary.now.per_hour:.0f} images/h")
    if summary.peak_bytes is not None:
        parts.append(f"peak memory {gib(summary.peak_bytes)}")
    if parts:
        yield f"  {', '.join(parts)}"
    if summary.to_render and summary.eta_s is not None:
        if summary.running is None:
            yield f"  about {duration(summary.eta_s)} for the rest"
            return
        end = done_about(summary.eta_s, guessed=summary.now is not None and summary.now.ends_guessed)
        source = f", {summary.now.ends_from}" if summary.now is not None and summary.now.ends_from else ""
        yield f"  {end}, in {duration(summary.eta_s)}{source}"


def _images(summary: Summary) -> Iterator[str]:
    """What became of the images that are not simply done."""
    counts = {
        "failed": summary.failed, "out of memory": summary.out_of_memory, "to render": summary.to_render,
        "degraded": summary.degraded, "prompt cut": summary.cut, "extra": summary.extra,
    }  # fmt: skip
    for name, count in counts.items():
        if count:
            yield f"  {name} {count}"
    for what, count in summary.touched.items():
        yield f"  {what} {count}: left as they are"
    if count := summary.unreadable_receipts:
        yield f"  {plural(count, 'receipt')} damaged: `verify` names them, the next run renders their images"
    if summary.torn:
        yield f"  of those to render, {summary.torn} torn: the next run renders them, what is there goes to trash/"
    if summary.taken:
        places = plural(summary.taken, "place")
        yield f"  of those to render, {places} taken by another picture (it steps aside as NAME-2 in the next run)"
    if summary.linked:
        yield f"  of those to render, {summary.linked} with a link in the place: the next run moves it to trash/"
    if found := summary.orphaned:
        names = ", ".join(map(one_line, found[:ORPHANS])) + (", …" if found[ORPHANS:] else "")
        yield f"  orphaned {len(found)} ({names}): no receipt names them; {ORPHANED}"
    for why, count in summary.skipped.items():
        yield f"  skipped {count}: {why}"


def _processes(summary: Summary) -> Iterator[str]:
    """Who is at work, or was."""
    if summary.running is None:
        yield "  not running"
    else:
        pid, host, since = (summary.running.get(name) for name in ("pid", "host", "since"))
        yield f"  running: process {pid} on {host} since {since}"
    if summary.killed:
        yield f"  the run that began {summary.killed} was killed: run it again to go on"
    for orphan in summary.left_over:
        then = "only its user can end it" if orphan.user else "the next run ends it"
        yield f"  a worker of an earlier run is still there: {orphan}; {then}"
