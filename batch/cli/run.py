"""``run``: render what is missing, then report; and how a run ends, for ``redecode`` too."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import duration, one_line, plural
from batch.cli.options import (
    cache_dir_option,
    devices_option,
    events_option,
    manifest_argument,
    out_option,
    quiet_option,
    seconds,
    set_option,
    size_in_bytes,
    stop_within_option,
)
from batch.cli.terminal import into_nothing, program, quoted, say, show, stoppable
from batch.engines import ENGINES

if TYPE_CHECKING:
    from batch.run.options import Result


@click.command(short_help="Render what is missing, then report.")
@manifest_argument
@out_option
@set_option
@click.option("--engine", type=click.Choice(ENGINES),
              help="process (the default): a worker that is watched; local: this process.")  # fmt: skip
@devices_option
@click.option("--retry-failed", is_flag=True, help="Try again what has failed as often as 'retries' allows.")
@click.option("--no-fallback", is_flag=True, help="Out of memory: record the failure, try nothing smaller.")
@click.option("--redo-degraded", is_flag=True,
              help="Render again what was done with a smaller memory setting than asked for.")  # fmt: skip
@click.option("--restore", is_flag=True,
              help="Render finished pictures again that somebody moved or changed.")  # fmt: skip
@click.option("--retry-oom", is_flag=True,
              help="Of kind: measure: try again what did not fit, and what was skipped for it.")  # fmt: skip
@click.option("--vram-limit", metavar="SIZE", callback=size_in_bytes,
              help="Take no more of the card than this, CUDA itself included: 8GiB.")  # fmt: skip
@click.option("--task-timeout", metavar="TIME", callback=seconds,
              help="So long without a sign of life is a hang: 90s, 10m. Default: learned.")  # fmt: skip
@click.option("--keep-latents", is_flag=True, help="Keep the latents of every image rendered, for redecode.")
@click.option("--until", metavar="TIME",
              help="Start no image that would not be done by then: 07:00, or '2026-11-25 07:00'.")  # fmt: skip
@click.option("--max-hours", type=float, metavar="H", help="The same, so many hours from the start.")
@click.option("--max-images", type=int, metavar="N", help="Start at most so many images.")
@click.option("--notify", metavar="TARGET", multiple=True,
              help="Tell this URL or command how it ends, besides those the manifest names.")  # fmt: skip
@stop_within_option
@cache_dir_option
@quiet_option
@events_option
def run(
    *,
    manifest: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    engine: str | None,
    devices: str | None,
    retry_failed: bool,
    no_fallback: bool,
    redo_degraded: bool,
    restore: bool,
    retry_oom: bool,
    vram_limit: int | None,
    task_timeout: float | None,
    keep_latents: bool,
    until: str | None,
    max_hours: float | None,
    max_images: int | None,
    notify: tuple[str, ...],
    stop_within: float | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Render what is missing, then write results.csv, the contact sheet and report.html."""
    from batch.cli import progress
    from batch.run import limits, runner
    from batch.run.options import Options

    if devices and "," in devices:
        raise errors.UserError(f"--devices {devices}: this engine renders on one device; name one")
    end = limits.parse_until(until, datetime.now(UTC)) if until is not None else None
    options = Options(
        out=out,
        overrides=overrides,
        devices=devices,
        engine=engine or "",
        retry_failed=retry_failed,
        fallback=not no_fallback,
        redo_degraded=redo_degraded,
        restore=restore,
        retry_oom=retry_oom,
        vram_limit=vram_limit,
        task_timeout=task_timeout,
        keep_latents=keep_latents,
        limits=limits.Limits(until=end, max_hours=max_hours, max_images=max_images),
        notify=notify,
        stop_within=stop_within,
    )
    with stoppable() as stop:
        result = runner.run(manifest, options, progress.listener(quiet=quiet, as_json=as_json), stop)
    again = "the same command with --retry-failed" if result.given_up else "the same command"
    return finish(result, as_json=as_json, retry=again, redo="restore" if restore else "render again")


def finish(result: Result, *, as_json: bool, retry: str, redo: str = "render again") -> int:
    """Say how it ended; the exit code is right even where nobody reads any more.

    ``retry`` is the command for what has failed, ``redo`` the word for what is done and to be made anew.
    """
    from batch.cli import progress

    code = errors.EXIT_FAILED if result.failed else errors.EXIT_RESUMABLE if result.lost else errors.EXIT_OK
    if result.stopped is not None:
        code = result.stopped.exit_code
    try:
        for warning in (*(result.report.warnings if result.report else ()), *result.warnings):
            say(one_line(f"warning: {warning}"))
        if as_json:
            progress.JsonEvents.emit(
                "end", exit_code=code, total=result.total, done=result.done, rendered=result.rendered,
                lost=result.lost, to_redo=result.to_redo, trash=[str(path) for path in result.trash],
                failed=result.failed, out_of_memory=result.out_of_memory, skipped=result.skipped,
                folder=str(result.folder), seconds=round(result.seconds, 3),
                reason=str(result.stopped) if result.stopped else None,
            )  # fmt: skip
        else:
            _tell(result, retry, redo)
    except OSError:
        into_nothing(sys.stdout)
        into_nothing(sys.stderr)
    return code


def _tell(result: Result, retry: str, redo: str) -> None:
    if result.stopped is not None:
        say(one_line(f"stopped: {result.stopped}"))
        if result.stopped.exit_code != errors.EXIT_FAILED:
            say("run the same command again to go on")
    before = f" ({result.done_before} were done before)" if result.done_before else ""
    show(
        f"{plural(result.rendered, 'image')} rendered in {duration(result.seconds)}, "
        f"{result.done} of {result.total} done{before}"
        + (f", {result.out_of_memory} out of memory" if result.out_of_memory else "")
        + (f", {result.skipped} skipped" if result.skipped else "")
        + (f", {result.to_redo} still to {redo}" if result.to_redo else "")
        + (f", {result.failed} FAILED" if result.failed else "")
    )
    if result.lost:
        say(f"{result.lost_in_words}: run the same command again")
    folder = quoted(result.folder)
    for trash in result.trash:
        back = f"{program()} prune {folder} --restore {trash.name}"
        show(f"what lay in their places is in {trash}; with the new ones moved away, {back} puts it back")
    if result.skipped or result.out_of_memory:
        show("what did not fit is a result and is not tried again; --retry-oom does")
    if result.failed:
        show(f"why: {program()} status {folder}   try again: {retry}")
    if (made := result.report) is not None:
        more = f" and {plural(len(made.sheets) - 1, 'more page')}" if made.sheets[1:] else ""
        for line in (*(f"{path}{more}" for path in made.sheets[:1]), made.csv, made.html):
            show(f"  {line}")
    if result.rendered and result.done == result.total and result.stopped is None:
        show(f"check every file: {program()} verify {folder}")
