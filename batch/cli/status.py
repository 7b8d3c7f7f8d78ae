"""``status``: how far a run is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import duration, gib, one_line, plural
from batch.cli.options import json_option, run_argument
from batch.cli.terminal import print_json, show
from batch.cli.verify import ORPHANED

if TYPE_CHECKING:
    from batch.store.status import Summary

ORPHANS = 3
"""How many are named."""


@click.command(short_help="Show how far a run is.")
@run_argument
@json_option
def status(run_folder: Path, as_json: bool) -> int:
    """Show how far a run is; works while it is going on."""
    from batch.store.status import summarize

    summary = summarize(run_folder)
    if as_json:
        print_json({**asdict(summary), "eta_s": summary.eta_s})
    else:
        show(summary_text(summary))
    return errors.EXIT_OK


def summary_text(summary: Summary) -> str:
    """What ``status`` prints."""
    lines = [f"{summary.name}: {summary.done} of {summary.total} done", *_images(summary), *_processes(summary)]
    if summary.seconds_per_image is not None:
        lines.append(f"  {duration(summary.seconds_per_image)} an image (median)")
    if summary.peak_bytes is not None:
        lines.append(f"  peak memory {gib(summary.peak_bytes)}")
    if summary.missing and summary.eta_s is not None:
        lines.append(f"  about {duration(summary.eta_s)} for the rest")
    if summary.happened:
        tally = ", ".join(f"{kind} {count}" for kind, count in summary.happened.items())
        lines.append(f"  happened in the last run: {tally}")
    for event in summary.last_happenings:
        at = datetime.fromisoformat(event.time).astimezone()
        first = next(iter(event.text.splitlines()), "")
        lines.append(f"    {at:%Y-%m-%d %H:%M:%S}  {first}")
    lines.extend(f"  OUT OF MEMORY {error}" for error in summary.unfit)
    lines.extend(f"  FAILED {error}" for error in summary.errors)
    return "\n".join(map(one_line, lines))


def _images(summary: Summary) -> Iterator[str]:
    """What became of the images that are not simply done."""
    counts = {
        "failed": summary.failed, "out of memory": summary.out_of_memory, "missing": summary.missing,
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
        yield f"  of the missing, {summary.torn} torn: the next run renders them, what is there goes to trash/"
    if summary.taken:
        places = plural(summary.taken, "place")
        yield f"  of the missing, {places} taken by another picture (it steps aside as NAME-2 in the next run)"
    if summary.linked:
        yield f"  of the missing, {summary.linked} with a link in the place, which the next run moves to trash/"
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
