"""Tell someone what a run, or a queue of them, comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_RESUMABLE, CannotGoOn, DiskLow
from batch.base.text import plural
from batch.run import enclosure, summary
from batch.run.notifier import NotifyEvent
from batch.store.folder import RunFolder, runner_id

if TYPE_CHECKING:
    from batch.run.notifier import Notifier
    from batch.run.options import QueueEntry, Result


def _ended_as(result: Result) -> NotifyEvent:
    """What people are told of a run that is over."""
    if isinstance(result.stopped, CannotGoOn):
        return NotifyEvent.FAILED
    if result.stopped is not None:
        return NotifyEvent.LOW_DISK if isinstance(result.stopped, DiskLow) else NotifyEvent.STOPPED
    if result.failed:
        return NotifyEvent.FAILED
    return NotifyEvent.STOPPED if result.lost else NotifyEvent.DONE


def tell(
    notifier: Notifier, name: str, result: Result, counts: Mapping[str, int], folder: RunFolder, *, whole: bool
) -> None:
    """Tell whoever wants to be told what a run comes to, with a picture of it.

    Of a run that is not the ``whole`` they hear only that it failed: the rest is told when the queue has ended.
    """
    event = _ended_as(result)
    if notifier.anybody and (whole or event == NotifyEvent.FAILED):
        text, picture = "\n".join(summary.lines(result)), enclosure.make(folder, result)
        notifier.send(event, summary.title(name, result), text, counts, result.folder, picture=picture)


def tell_of_all(notifier: Notifier, entries: Sequence[QueueEntry], code: int) -> None:
    """Tell of a queue that is over, which ends with ``code``: one message, with the picture of its last run."""
    results = [entry.result for entry in entries if entry.result is not None]
    if not notifier.anybody:
        return
    done, total = sum(entry.done for entry in entries), sum(entry.images for entry in entries)
    failed = sum(item.failed for item in results)
    whole = sum(entry.exit_code == EXIT_OK or entry.complete for entry in entries)
    title = f"{whole} of {plural(len(entries), 'manifest')} done: {done} of {plural(total, 'image')}"
    title += f", {failed} failed" if failed else ""
    event = NotifyEvent.FAILED
    if code == EXIT_OK:
        event = NotifyEvent.DONE
    elif code in (EXIT_RESUMABLE, EXIT_INTERRUPTED):
        low = any(isinstance(item.stopped, DiskLow) for item in results)
        event = NotifyEvent.LOW_DISK if low else NotifyEvent.STOPPED
    not_run = sum(entry.left_out for entry in entries)
    counts = {"done": done, "failed": failed, "missing": max(0, total - done - failed), "not-run": not_run}
    text = "\n".join([*summary.together(entries), *map(summary.of, entries)])
    pictures = ((enclosure.make(RunFolder(item.folder, runner_id()), item), item) for item in reversed(results))
    picture, shown = next((found for found in pictures if found[0]), (None, results[-1] if results else None))
    folders = [item.folder for item in results if item is not shown]
    first = shown.folder if shown is not None else Path.cwd()
    notifier.send(event, title, text, counts, first, *folders, picture=picture)
