"""How far a run is, in words: what ``status`` prints, once or again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.shell import past_failures, program, quoted
from batch.base.text import done_about, duration, gib, one_line, plural, roughly
from batch.cli import words
from batch.cli.countdown import stops, while_paused
from batch.cli.verify import ORPHANED
from batch.records.live import RunState, SeatState

if TYPE_CHECKING:
    from batch.base.tables import Paragraph
    from batch.records.live import LiveStatus
    from batch.store.causes import Cause
    from batch.store.status import Summary

ORPHANS = 3
"""How many are named."""

IDLE = 8
"""Shards that are not at work and are named."""

SEATS = 8
"""Devices that have a line of their own."""


def summary_parts(summary: Summary) -> Iterator[Paragraph]:
    """What ``status`` prints."""
    from batch.base.tables import Paragraph

    for line in map(one_line, _lines(summary)):
        yield Paragraph(line, "red" if line.lstrip().startswith(("FAILED", "OUT OF MEMORY")) else "")


def _lines(summary: Summary) -> Iterator[str]:
    yield f"{summary.name}: {summary.done} of {summary.total} done"
    if summary.now is not None:
        yield f"  {moment(summary.now)}"
        yield from _seats(summary.now)
    yield from _images(summary)
    yield from _processes(summary)
    yield from _pace(summary)
    if summary.happened:
        tally = ", ".join(f"{kind} {count}" for kind, count in summary.happened.items())
        yield f"  happened in {'this' if summary.running else 'the last'} run: {tally}"
    for event in summary.last_happenings:
        if summary.now is not None and event.text == summary.now.said:  # stands above
            continue
        first = next(iter(event.said.splitlines()), "")
        yield f"    {local(event.time)}  {first}"
    yield from _failures("OUT OF MEMORY", summary.unfit_causes, again(summary, "--retry-oom"))
    yield from _failures("FAILED", summary.causes, again(summary, "--retry-failed"))
    if summary.in_a_row and summary.causes:
        past = again(summary, past_failures(summary.total))
        yield f"    if that cannot go well, mend the manifest; or go on past it: {past}"


def moment(now: LiveStatus) -> str:
    """What a run is at: ``rendering lighthouse-s42-5376x3072, denoising 7 of 20, 26s to go``."""
    left = f"{roughly(now.image_left_s)} to go" if now.image_left_s and now.image_left_s >= 1 else ""
    at, doing = words.at_work(now.stage, now.part, now.parts), f"{_STATES.get(now.state, now.state)} {now.image}"
    if now.state == RunState.ENCODING:
        at, doing = f"text {now.part} of {now.parts}" if now.parts else "", "encoding texts"
    said, seats = now.said, [seat for seat in now.seats if seat.state != SeatState.GONE]
    if len(now.seats) > 1 and now.state == RunState.RENDERING:
        busy = sum(seat.state == SeatState.RENDERING for seat in seats)
        return ", ".join(filter(None, [f"rendering on {busy} of {plural(len(seats), 'device')}", said]))
    if said.startswith(f"{now.state}: "):  # it says the state, and names what is at work
        doing, said = said, ""
    return ", ".join(filter(None, [doing.rstrip(), at if at != now.state else "", left, said]))


_STATES = {RunState.LOADING: "loading the model"}

_SEAT_STATES = {
    SeatState.LOADING: "loading the model",
    SeatState.ENCODING: "encoding texts",
    SeatState.GONE: "lost: the others go on",
}


def _seats(now: LiveStatus) -> Iterator[str]:
    """A line for each of several devices; of many, those at work first."""
    if now.state not in _AT_WORK:
        return
    shown = list(now.seats)
    if len(shown) > SEATS:
        rendering_first = sorted(now.seats, key=lambda seat: seat.state != SeatState.RENDERING)
        shown = sorted(rendering_first[:SEATS], key=lambda seat: seat.number)
    width = max((len(seat.label) for seat in shown), default=0)
    for seat in shown:
        at = words.at_work(seat.stage, seat.part, seat.parts)
        doing = f"{seat.image}, {at}" if seat.image else _SEAT_STATES.get(seat.state, seat.state.value)
        yield f"    {seat.label:<{width}}  {doing}"
    if more := len(now.seats) - len(shown):
        yield f"    and {more} more"


_AT_WORK = {RunState.LOADING, RunState.ENCODING, RunState.RENDERING, RunState.STOPPING}


def local(time: str) -> str:
    """A time of the records by the local clock: ``2026-11-29 04:14:17``."""
    try:
        return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # what somebody wrote there
        return time


def again(summary: Summary, option: str = "") -> str:
    """The command that goes on, or tries again what this option is for."""
    if not summary.source:
        return f"the same command with {option}" if option else "the same command again"
    out = "" if Path(summary.root) == Path("outputs") / summary.name else f" --out {quoted(Path(summary.root))}"
    return f"{program()} run {quoted(Path(summary.source))}{out} {option}".rstrip()


def _failures(what: str, causes: Sequence[Cause], command: str) -> Iterator[str]:
    """A line for each cause; then what tries them again."""
    for cause in causes:
        names = ", ".join(cause.images) + (", …" if cause.count > len(cause.images) else "")
        yield f"  {what} {plural(cause.count, 'image')}: {cause.stage}: {cause.message} ({names})"
    if causes:
        yield f"    try again: {command}"


def _pace(summary: Summary) -> Iterator[str]:
    """How fast it goes, what it takes, and when it will be done."""
    parts, now = [], summary.now
    if now is not None and now.per_hour:
        parts.append(words.rate(3600 / now.per_hour, "image"))
    elif summary.running is None and summary.seconds_per_image:
        parts.append(f"{duration(summary.seconds_per_image)} an image{_median_of(summary)}")
    if summary.peak_bytes is not None:
        parts.append(f"peak memory {gib(summary.peak_bytes)}")
    if said := ", ".join(filter(None, parts)):
        yield f"  {said}"
    if summary.to_render and (end := _end(summary)):
        yield f"  {end}"


def _median_of(summary: Summary) -> str:
    """Which images a time is the median of; of one alone there is none."""
    if summary.timed < 2:
        return ""
    left_out = summary.timed < summary.done
    return f" (median of {summary.timed}, warm-up left out)" if left_out else f" (median of all {summary.timed})"


def _end(summary: Summary) -> str:
    """When it will be done; of a run that is over or stops, how long the rest takes."""
    rest, now = summary.eta_s, summary.now
    over = None if now is None or now.ends_at is None else max(0.0, now.ends_at - summary.clock)
    if now is not None and (now.ends_by or now.state == RunState.PAUSED):
        images = None if now.ends_with is None else max(summary.done, now.ends_with)
        if now.state == RunState.PAUSED:
            said = while_paused(rest if now.resumed_s is None else now.resumed_s, over, images, now.total)
        else:
            said = stops(over, images, now.total, exact=now.ends_by != "--max-images")
        return f"{said} ({now.ends_by})" if now.ends_by else said
    if rest is None:
        return ""
    if summary.running is None or (now is not None and now.ends_at is None):
        return f"about {roughly(rest)} for the rest"
    source = f", {now.ends_from}" if now is not None and now.ends_from else ""
    if summary.idle_shards:
        source += ", of the shards at work"
    return f"{done_about(rest, guessed=now is not None and now.ends_guessed)}, in {roughly(rest)}{source}"


def _idle(summary: Summary) -> Iterator[str]:
    """The shards that have images to render, and are not at work."""
    named = list(summary.idle_shards)
    if named:
        names = ", ".join(named[:IDLE]) + (f" and {len(named) - IDLE} more" if named[IDLE:] else "")
        shards, images = "shard" if len(named) == 1 else "shards", sum(summary.idle_shards.values())
        yield f"  not at work: {shards} {names}, with {plural(images, 'image')} to render"


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
    elif summary.shards:
        for item in summary.shards:
            doing = f": {moment(item.now)}" if item.now is not None else ""
            yield f"  shard {item.shard} on {item.running.get('host')} (process {item.running.get('pid')}){doing}"
        yield from _idle(summary)
    else:
        pid, host, since = (summary.running.get(name) for name in ("pid", "host", "since"))
        yield f"  running: process {pid} on {host} since {local(str(since))}"
    if summary.killed:
        yield f"  the run that began {local(summary.killed)} was killed"
    if summary.running is None and summary.to_render and summary.divided_by:
        of = summary.divided_by
        yield f"  go on: the shards 1/{of} to {of}/{of}, or all in one run: {again(summary)}"
    elif summary.running is None and summary.to_render:
        yield f"  go on: {again(summary)}"
    if summary.running is None and (report := Path(summary.root) / "report.html").exists():
        yield f"  report: {report}"
    for orphan in summary.left_over:
        then = "only its user can end it" if orphan.user else "the next run ends it"
        yield f"  a worker of an earlier run is still there: {orphan}; {then}"
