"""How far a run is, in words: what ``status`` prints, once or again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.shell import past_failures
from batch.base.text import by_clock, done_about, duration, gib, one_line, plural, roughly
from batch.cli import words
from batch.cli.countdown import stops, while_paused
from batch.cli.going_on import again, named, of_idle_shards
from batch.cli.verify import ORPHANED
from batch.records.live import RunState, SeatState, counted

if TYPE_CHECKING:
    from batch.base.tables import Paragraph
    from batch.records.live import LiveStatus
    from batch.store.causes import Cause
    from batch.store.status import Summary

ORPHANS = 3
"""How many are named."""

SEATS, IN_ALL = 8, 16
"""Devices of a run, and of several runs together, that have a line of their own."""


def summary_parts(summary: Summary) -> Iterator[Paragraph]:
    """What ``status`` prints."""
    from batch.base.tables import Paragraph

    for line in map(one_line, _lines(summary)):
        yield Paragraph(line, "red" if line.lstrip().startswith(("FAILED", "OUT OF MEMORY")) else "")


def _lines(summary: Summary) -> Iterator[str]:
    yield f"{summary.name}: {summary.done} of {summary.total} done"
    if doing := at_this_moment(summary):
        yield f"  {doing}"
    if summary.now is not None and not summary.shards:
        yield from _seats(summary.now)
    yield from _images(summary)
    yield from _processes(summary)
    yield from _pace(summary)
    if summary.happened:
        tally = ", ".join(f"{kind} {count}" for kind, count in summary.happened.items())
        yield f"  happened in {'this' if summary.running else 'the last'} run: {tally}"
    said = {(item.shard, item.now.said) for item in summary.shards if item.now is not None}
    said |= {("", summary.now.said)} if summary.now is not None else set()
    for event in summary.last_happenings:
        if (event.shard, event.text) in said:  # stands above
            continue
        first = next(iter(event.said.splitlines()), "")
        yield f"    {by_clock(event.time)}  {first}"
    yield from _causes("tried again:", summary.retried_causes)
    yield from _failures("OUT OF MEMORY", summary, summary.unfit_causes, "--retry-oom")
    yield from _failures("FAILED", summary, summary.causes, "--retry-failed")
    if summary.in_a_row and summary.causes:
        past = again(summary, past_failures(summary.total))
        yield f"    if that cannot go well, mend the manifest; or go on past it: {past}"


def at_this_moment(summary: Summary) -> str:
    """What whoever is at work there is at; nothing where nobody is, or says so."""
    if summary.shards:
        return counted(item.now for item in summary.shards if item.now is not None)
    return moment(summary.now) if summary.now is not None else ""


def moment(now: LiveStatus) -> str:
    """What a run is at: ``rendering lighthouse-s42-5376x3072, denoising 7 of 20, 26s to go``."""
    left = f"{roughly(now.image_left_s)} to go" if now.image_left_s and now.image_left_s >= 1 else ""
    at, doing = words.at_work(now.stage, now.part, now.parts), f"{_STATES.get(now.state, now.state)} {now.image}"
    if now.state == RunState.ENCODING:
        at, doing = f"text {now.part} of {now.parts}" if now.parts else "", "encoding texts"
    said, states = now.said, Counter(seat.state for seat in now.seats)
    if len(now.seats) > 1 and now.state == RunState.RENDERING:
        busy = f"rendering on {states[SeatState.RENDERING]} of {plural(len(now.seats), 'device')}"
        lost = f"{states[SeatState.GONE]} lost" if states[SeatState.GONE] else ""
        return ", ".join(filter(None, [busy, lost, said]))
    if said.startswith(f"{now.state}: "):  # it says the state, and names what is at work
        doing, said = said, ""
    return ", ".join(filter(None, [doing.rstrip(), at if at != now.state else "", left, said]))


_STATES = {RunState.LOADING: "loading the model"}

_SEAT_STATES = {
    SeatState.LOADING: "loading the model",
    SeatState.ENCODING: "encoding texts",
    SeatState.GONE: "lost",
}


def _seats(now: LiveStatus, most: int = SEATS) -> Iterator[str]:
    """A line for each of several devices; of more than ``most``, those at work first."""
    if now.state not in _AT_WORK:
        return
    shown = list(now.seats)
    if len(shown) > most:
        rendering_first = sorted(now.seats, key=lambda seat: seat.state != SeatState.RENDERING)
        shown = sorted(rendering_first[:most], key=lambda seat: seat.number)
    width = max((len(seat.label) for seat in shown), default=0)
    for seat in shown:
        at = words.at_work(seat.stage, seat.part, seat.parts)
        doing = f"{seat.image}, {at}" if seat.image else _SEAT_STATES.get(seat.state, seat.state.value)
        yield f"    {seat.label:<{width}}  {doing}"
    if more := len(now.seats) - len(shown):
        yield f"    and {more} more"


_GOES_ON = {RunState.STARTING, RunState.LOADING, RunState.ENCODING, RunState.RENDERING}
_AT_WORK = {RunState.LOADING, RunState.ENCODING, RunState.RENDERING, RunState.STOPPING}


def _causes(what: str, causes: Sequence[Cause]) -> Iterator[str]:
    """A line for each cause."""
    for cause in causes:
        names = ", ".join(cause.images) + (", …" if cause.count > len(cause.images) else "")
        yield f"  {what} {plural(cause.count, 'image')}: {cause.stage}: {cause.message} ({names})"


def _failures(what: str, summary: Summary, causes: Sequence[Cause], option: str) -> Iterator[str]:
    """A line for each cause; then what tries them again."""
    yield from _causes(what, causes)
    if causes:
        when = " when this run is over" if summary.running else ""
        yield f"    try again{when}: {again(summary, option)}"


def _pace(summary: Summary) -> Iterator[str]:
    """How fast it goes, what it takes, and when it will be done."""
    parts, now = [], summary.now
    several = summary.devices > 1 or summary.divided_by > 1
    if now is not None and now.per_hour:
        parts.append(words.rate(3600 / now.per_hour, "image") + _all_together(summary))
    elif summary.running is None and summary.seconds_per_image:
        on = " on one device" if several else ""
        parts.append(f"{duration(summary.seconds_per_image)} an image{on}{_median_of(summary)}")
    if summary.peak_bytes is not None:
        parts.append(f"peak memory {gib(summary.peak_bytes)}{' of one worker' if several else ''}")
    if said := ", ".join(filter(None, parts)):
        yield f"  {said}"
    if summary.to_render and (end := _end(summary)):
        yield f"  {end}"


def _all_together(summary: Summary) -> str:
    """Of how many a rate is, where there are several."""
    if summary.shards:
        return " on all shards together" if len(summary.shards) > 1 else ""
    there = sum(seat.state != SeatState.GONE for seat in summary.now.seats) if summary.now is not None else 0
    return f" on {there} devices together" if there > 1 else ""


def _median_of(summary: Summary) -> str:
    """Which images a time is the median of; of one alone there is none."""
    if summary.timed < 2:
        return ""
    left_out = summary.timed < summary.done
    return f" (median of {summary.timed}, warm-up left out)" if left_out else f" (median of all {summary.timed})"


def _end(summary: Summary) -> str:
    """When it will be done; of a run that is over or stops, how long the rest takes."""
    if summary.shards:
        return _end_of_shards(summary)
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
        at_once = ", all shards at once" if len(summary.idle_shards) > 1 else ""
        return f"about {roughly(rest)} for the rest{at_once}"
    source = f", {now.ends_from}" if now is not None and now.ends_from else ""
    return f"{done_about(rest, guessed=now is not None and now.ends_guessed)}, in {roughly(rest)}{source}"


def _end_of_shards(summary: Summary) -> str:
    """When those at work will be done, if none of them ends before."""
    rest, said = summary.eta_s, [item.now for item in summary.shards if item.now is not None]
    if rest is None:
        return ""
    whose = "the shards at work: " if summary.idle_shards else ""
    going = [now for now in said if now.state in _GOES_ON]
    if any(now.ends_by or now.state == RunState.STOPPING for now in said):
        return f"{whose}about {roughly(rest)} for the rest"
    if not going and any(now.state == RunState.PAUSED for now in said):
        return f"{whose}about {roughly(rest)} once resumed"
    guessed, source = any(now.ends_guessed for now in going), next((now.ends_from for now in going), "")
    return f"{whose}{done_about(rest, guessed=guessed)}, in {roughly(rest)}{f', {source}' if source else ''}"


def _shards(summary: Summary) -> Iterator[str]:
    """Of a divided folder each part: who is at work at it, that it is done, or what goes on with it."""
    room = IN_ALL // max(1, len(summary.shards))
    for item in summary.shards:
        doing = f": {moment(item.now)}" if item.now is not None else ""
        pid = item.running.get("pid")
        where = f"{item.running.get('host')} ({f'process {pid}' if pid else 'just started'})"
        yield f"  shard {item.shard} on {where}{doing}"
        if item.now is not None and room > 1:
            yield from (f"  {line}" for line in _seats(item.now, min(SEATS, room)))
    left = {item.shard for item in summary.shards} | {item.shard for item in summary.idle_shards}
    parts = [f"{number}/{summary.divided_by}" for number in range(1, summary.divided_by + 1)]
    if over := [shard for shard in parts if shard not in left]:
        yield f"  nothing left to render: {named(over)}"
    yield from of_idle_shards(summary)


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
    elif not summary.shards:
        pid, host, since = (summary.running.get(name) for name in ("pid", "host", "since"))
        yield f"  running: process {pid} on {host} since {by_clock(str(since))}" if pid else "  just started"
    yield from _shards(summary)
    if killed := summary.killed_shards:
        yield f"  {named(killed)} {'was' if len(killed) == 1 else 'were'} killed"
    elif summary.killed:
        yield f"  the run that began {by_clock(summary.killed)} was killed"
    if summary.running is None and summary.to_render:
        yield f"  {'or all in one run' if summary.idle_shards else 'go on'}: {again(summary)}"
    if summary.running is None and (report := Path(summary.root) / "report.html").exists():
        yield f"  report: {report}"
    for orphan in summary.left_over:
        then = "only its user can end it" if orphan.user else "the next run ends it"
        yield f"  a worker of an earlier run is still there: {orphan}; {then}"
