"""How a run ends, on the terminal and as JSON: of ``run``, of each of several manifests, and of ``redecode``."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import errors
from batch.base.shell import past_failures, program, quoted
from batch.base.text import one_line, plural
from batch.cli import mistakes, progress
from batch.cli.terminal import let_go, say, show
from batch.run import summary
from batch.run.options import QueueEntry

if TYPE_CHECKING:
    from batch.run.options import Options, Result
    from batch.run.queue import Queue


AGAIN = "run the same command again to go on"
_GOES_ON = (errors.EXIT_RESUMABLE, errors.EXIT_INTERRUPTED)


def of_run(result: Result, options: Options, *, as_json: bool, run: str = "") -> int:
    """Say how a run of ``run`` ended, in a queue that of the manifest ``run``; the exit code."""
    again = "the same command with --retry-failed" if result.given_up else "the same command"
    redo = "restore" if options.restore else "render again"
    return finish(result, as_json=as_json, retry=again, redo=redo, run=run)


def finish(result: Result, *, as_json: bool, retry: str, redo: str = "render again", run: str = "") -> int:
    """Say how it ended; the exit code is right even where nobody reads any more.

    ``retry`` is the command for what has failed, ``redo`` the word for what is done and to be made anew.
    """
    with _read_or_not():
        _warn((*(result.report.warnings if result.report else ()), *result.warnings))
        if as_json:
            account = result.account
            progress.JsonEvents(run).emit(
                "end", exit_code=result.exit_code, total=result.total, done=result.done, rendered=result.rendered,
                lost=result.lost, to_redo=result.to_redo, trash=[str(path) for path in result.trash],
                failed=result.failed, out_of_memory=result.out_of_memory, skipped=result.skipped,
                degraded=account.degraded, wh=round(account.wh, 3) if account.measured else None,
                causes=[{"cause": cause, "images": count} for cause, count in account.causes],
                shard=str(result.shard) if result.shard else None, whole=result.whole,
                elsewhere=result.elsewhere, folder=str(result.folder), seconds=round(result.seconds, 3),
                paused_s=round(account.paused_s, 3),
                reason=str(result.stopped) if result.stopped else None,
            )  # fmt: skip
        else:
            _tell(result, retry, redo)
            if result.stopped is not None and result.stopped.exit_code != errors.EXIT_FAILED and not run:
                say(AGAIN)  # of a queue once, at its end
    return result.exit_code


def of_entry(entry: QueueEntry, options: Options, *, quiet: bool, as_json: bool, more: bool) -> None:
    """Say what became of a manifest of a queue, as soon as that is known; ``quiet``: no more than warnings.

    ``more``: others have not ended yet. One that is not begun stands in the last lines alone.
    """
    if entry.result is not None and (as_json or not quiet):
        of_run(entry.result, options, as_json=as_json, run=str(entry.manifest))
        return
    with _read_or_not():
        if entry.result is not None:
            _warn(entry.result.warnings)
        elif as_json:
            progress.JsonEvents(str(entry.manifest)).emit(
                "end", exit_code=entry.exit_code, total=entry.images, reason=entry.why
            )
        elif not entry.not_begun:
            say(_why(entry))
            if more:
                say(one_line(f"{entry.manifest} is left out; the queue goes on without it"))


@contextmanager
def of_what_cannot_begin(event: str, *, as_json: bool) -> Iterator[None]:
    """With ``--json``, end with ``event`` also where an error keeps everything from beginning; it is raised on."""
    try:
        yield
    except Exception as error:
        if as_json:
            entry = QueueEntry(manifest=Path(), error=error)
            with _read_or_not():
                runs: dict[str, list[str]] = {"runs": []} if event == "queue" else {}
                progress.JsonEvents().emit(event, exit_code=entry.exit_code, reason=entry.why, **runs)
        raise


def _why(entry: QueueEntry) -> str:
    """Why a manifest of a queue did not run; its name stands before what does not say it."""
    name = one_line(str(entry.manifest))
    if isinstance(entry.error, errors.BatchError):
        said = mistakes.told(entry.error)
    elif isinstance(entry.error, OSError):
        said = one_line(f"error: {entry.why}")
    else:
        said = "".join(traceback.format_exception(entry.error))
    return said if name in said else f"{name}: {said}"


def of_queue(queue: Queue, *, as_json: bool) -> int:
    """Say what a queue came to; its exit code."""
    with _read_or_not():
        if as_json:
            progress.JsonEvents().emit(
                "queue", exit_code=queue.exit_code, seconds=round(queue.seconds, 3),
                paused_s=round(sum(entry.result.account.paused_s for entry in queue.entries if entry.result), 3),
                runs=[
                    {
                        "run": str(entry.manifest), "exit_code": entry.exit_code, "total": entry.images,
                        "begun": entry.result is not None, "done": entry.done if entry.images else None,
                        "failed": entry.result.failed if entry.result else None,
                    }
                    for entry in queue.entries
                ],
            )  # fmt: skip
        else:
            for line in (*map(summary.of, queue.entries), *summary.together(queue.entries)):
                show(line)
            if any(entry.exit_code in _GOES_ON for entry in queue.entries):
                say(AGAIN)
    return queue.exit_code


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        say(one_line(f"warning: {warning}"))


@contextmanager
def _read_or_not() -> Iterator[None]:
    """Nobody may read any more: then what is said goes nowhere."""
    try:
        yield
    except (OSError, ValueError):
        let_go()


def _tell(result: Result, retry: str, redo: str) -> None:
    if result.stopped is not None:
        say(one_line(f"stopped: {result.stopped}"))
    before = f" ({result.done_before} were done before)" if result.done_before else ""
    show(
        f"{summary.rendered(result)}, {result.done} of {result.total} done{before}"
        + (f", {result.out_of_memory} out of memory" if result.out_of_memory else "")
        + (f", {result.skipped} skipped" if result.skipped else "")
        + (f", {result.to_redo} still to {redo}" if result.to_redo else "")
        + (f", {result.failed} FAILED" if result.failed else "")
    )
    for line in summary.details(result):
        show(f"  {line}")
    for line in summary.of_other_shards(result):
        show(line)
    if result.lost:
        say(f"{result.lost_in_words}: run the same command again")
    folder = quoted(result.folder)
    for trash in result.trash:
        back = f"{program()} prune {folder} --restore {trash.name}"
        show(f"what lay in their places is in {quoted(trash)}; with the new ones moved away, {back} puts it back")
    if result.skipped or result.out_of_memory:
        show("what did not fit is a result and is not tried again; --retry-oom does")
    if result.failed:
        show(f"why: {program()} status {folder}   try again: {retry}")
    if isinstance(result.stopped, errors.FailedInARow):
        show(f"if that cannot go well, mend the manifest; or go on past it with {past_failures(result.total)}")
    if (made := result.report) is not None:
        more = f" and {plural(len(made.sheets) - 1, 'more page')}" if made.sheets[1:] else ""
        for path in (*(f"{path}{more}" for path in made.sheets[:1]), made.csv, made.html):
            show(one_line(f"  {path}"))
    if result.rendered and result.done == result.total and result.stopped is None and not result.elsewhere:
        show(f"check every file: {program()} verify {folder}")
