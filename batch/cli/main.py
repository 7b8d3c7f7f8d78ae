"""The command line: options in, printed words and an exit code out. Everything else is the runner's."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, TextIO

import click
from click.shell_completion import CompletionItem

from batch import __version__
from batch.base import errors
from batch.base.text import duration, plural
from batch.cli import options as commands
from batch.cli import progress
from batch.cli.options import (
    FolderName,
    cache_dir_option,
    devices_option,
    json_option,
    manifest_argument,
    out_option,
    run_argument,
    seconds,
    set_option,
    size_in_bytes,
)
from batch.engines import ENGINES

_NAMES = ("-h", "--help")
_MANIFESTS = (".yaml", ".yml", ".json", ".csv", ".tsv", ".jsonl")


class _Commands(click.Group):
    """``run`` is understood when a manifest is named without a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args[0] if args else ""
        is_file = (
            named.lower().endswith((".yaml", ".yml", ".json", ".csv", ".tsv", ".jsonl")) or Path(named).exists()
        )
        if named and named not in self.commands and is_file:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands, and where none begins like that, files: ``run`` may be left out."""
        return super().shell_complete(ctx, incomplete) or [CompletionItem(incomplete, type="file")]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of use, not of the alphabet."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": _NAMES, "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="run_batch")
def cli() -> None:
    """Render a manifest's grid of prompts, seeds and sizes with one warm diffusers pipeline.

    \b
        run_batch.py jobs/quickstart.yaml       render what is missing, then report
        run_batch.py plan jobs/night.yaml       show what would be done
        run_batch.py status outputs/night       see how far it is

    Run the same command again to resume: what is done is never rendered twice. Exit codes: 0 all done,
    1 some images failed, 2 your mistake, 3 the run folder is in use or another job's, 75 stopped early
    (run again), 130 interrupted.
    """  # noqa: D301 - click's \\b must be the character itself


_quiet = click.option("--quiet", is_flag=True, help="No progress; errors and the last line only.")
_events = click.option("--json", "as_json", is_flag=True, help="Print one JSON event a line on stdout.")


@cli.command(short_help="Render what is missing, then report.")
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
@cache_dir_option
@_quiet
@_events
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
    retry_oom: bool,
    vram_limit: int | None,
    task_timeout: float | None,
    keep_latents: bool,
    until: str | None,
    max_hours: float | None,
    max_images: int | None,
    notify: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> int:
    """Render what is missing, then write results.csv, the contact sheet and report.html."""
    from batch.run import limits, runner

    if devices and "," in devices:
        raise errors.UserError(f"--devices {devices}: this engine renders on one device; name one")
    end = limits.parse_until(until, datetime.now(UTC)) if until is not None else None
    options = runner.Options(
        out=out,
        overrides=overrides,
        devices=devices,
        engine=engine or "",
        retry_failed=retry_failed,
        fallback=not no_fallback,
        redo_degraded=redo_degraded,
        retry_oom=retry_oom,
        vram_limit=vram_limit,
        task_timeout=task_timeout,
        keep_latents=keep_latents,
        limits=limits.Limits(until=end, max_hours=max_hours, max_images=max_images),
        notify=notify,
    )
    watcher = progress.watcher(quiet=quiet, as_json=as_json)
    with _stoppable() as stop:
        result = runner.run(manifest, options, watcher, stop)
    return _finish(result, as_json=as_json, retry=_retry(result))


def _finish(result: Any, *, as_json: bool, retry: str) -> int:
    """Say how it ended; the exit code is right even where nobody reads any more."""
    try:
        _say_end(result, as_json=as_json, retry=retry)
    except OSError:
        _into_nothing(sys.stdout)
        _into_nothing(sys.stderr)
    return _exit_code(result)


def _into_nothing(stream: TextIO) -> None:
    """What is still in the stream's buffer would raise again when the program ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say_end(result: Any, *, as_json: bool, retry: str) -> None:
    for warning in (*(result.report.warnings if result.report else ()), *result.warnings):
        _say(f"warning: {warning}")
    if as_json:
        progress.Events.emit(
            "end", exit_code=_exit_code(result), total=result.total, rendered=result.rendered,
            failed=result.failed, out_of_memory=result.out_of_memory, skipped=result.skipped,
            folder=str(result.folder), seconds=round(result.seconds, 3),
            reason=str(result.stopped) if result.stopped else None,
        )  # fmt: skip
        return
    _tell(result, retry)


def _exit_code(result: Any) -> int:
    if result.stopped is not None:
        return int(result.stopped.exit_code)
    return errors.EXIT_FAILED if result.failed else errors.EXIT_OK


def _retry(result: Any) -> str:
    return "the same command with --retry-failed" if result.given_up else "the same command"


def _tell(result: Any, retry: str) -> None:
    done = result.done_before + result.rendered
    if result.stopped is not None:
        _say(f"stopped: {result.stopped}")
        if result.stopped.exit_code != errors.EXIT_FAILED:
            _say("run the same command again to go on")
    before = f" ({result.done_before} were done before)" if result.done_before else ""
    click.echo(
        f"{plural(result.rendered, 'image')} rendered in {duration(result.seconds)}, "
        f"{done} of {result.total} done{before}"
        + (f", {result.out_of_memory} out of memory" if result.out_of_memory else "")
        + (f", {result.skipped} skipped" if result.skipped else "")
        + (f", {result.failed} FAILED" if result.failed else "")
    )
    if result.skipped or result.out_of_memory:
        click.echo("what did not fit is a result and is not tried again; --retry-oom does")
    if result.failed:
        click.echo(f"why: {progress.program()} status {result.folder}   try again: {retry}")
    made = result.report
    for path in (*made.sheets[:1], made.csv, made.html) if made else ():
        more = (
            f" and {plural(len(made.sheets) - 1, 'more page')}" if made.sheets[1:] and path in made.sheets else ""
        )
        click.echo(f"  {path}{more}")


@cli.command(short_help="Show what a run would do; touches nothing.")
@manifest_argument
@out_option
@set_option
@cache_dir_option
@json_option
def plan(manifest: Path, out: Path | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what a run would do: the grid's arithmetic, the sizes, what is done. Touches nothing."""
    from batch.cli import plan as show
    from batch.run import forecast, remaining, runner

    options = runner.Options(out=out, overrides=overrides)
    read, made, folder = runner.prepare(manifest, options)
    folder.check(made.name, made.kind)
    where = remaining.standing(made, folder, read.run.retries) if made.ids_known else None
    outlook = remaining.outlook(made, where, folder, read.run.min_free_disk)
    made = replace(made, warnings=(*made.warnings, *outlook.warnings))
    memory = forecast.forecast(made, _predicting)
    if as_json:
        said = show.plan_json(made, where, folder.root, outlook, memory)
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        click.echo(show.plan_text(made, where, folder.root, outlook, memory))
    for warning in made.warnings:
        _say(f"warning: {warning}")
    return errors.EXIT_OK


def _predicting(count: int) -> None:
    if sys.stderr.isatty():
        _say(f"predicting the memory of {plural(count, 'stage')}, once: the next plan knows them …")


@cli.command(short_help="Show how far a run is.")
@run_argument
@json_option
def status(run_folder: Path, as_json: bool) -> int:
    """Show how far a run is; works while it is going on."""
    from batch.cli import plan as show
    from batch.store import status

    found = status.summarize(run_folder)
    if as_json:
        click.echo(json.dumps(show.summary_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(show.summary_text(found))
    return errors.EXIT_OK


@cli.command(short_help="Rebuild the table, the sheet and the page.")
@run_argument
def report(run_folder: Path) -> int:
    """Rebuild results.csv, the contact sheet and report.html from the receipts."""
    from batch.run import runner

    made = runner.report(run_folder)
    for warning in made.warnings:
        _say(f"warning: {warning}")
    for path in (made.csv, *made.sheets, made.html):
        click.echo(f"  {path}")
    return errors.EXIT_OK


@cli.command(short_help="Decode kept latents with other tiles.")
@run_argument
@click.option("--memory", metavar="SETTING", required=True,
              help="The memory setting to decode with, for example full or vae_tiling(512, 448).")  # fmt: skip
@click.option("--out", type=FolderName(),
              help="The new run folder. Default: RUN-SETTING, beside RUN.")  # fmt: skip
@devices_option
@cache_dir_option
@_quiet
@_events
def redecode(
    *, run_folder: Path, memory: str, out: Path | None, devices: str | None, quiet: bool, as_json: bool
) -> int:
    """Decode kept latents again with another memory setting, without denoising, into a run of its own."""
    from batch import upkeep

    watcher = progress.watcher(quiet=quiet, as_json=as_json)
    with _stoppable() as stop:
        done = upkeep.redecode(run_folder, memory, out, devices, watcher, stop)
    if done.without_latents:
        _say(f"{plural(done.without_latents, 'done image')} left out: no latents were kept of them")
    return _finish(done.result, as_json=as_json, retry="run the same command again")


for _command in commands.ALL:
    cli.add_command(_command)


@contextmanager
def _stoppable() -> Iterator[Event]:
    """The first Ctrl-C, SIGTERM or end of the terminal sets the flag; a second one ends the process at once."""
    stop = Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(errors.EXIT_INTERRUPTED)
        stop.set()
        with suppress(OSError):  # the terminal may be gone
            _say("\nstopping: what is complete is kept, what is at work is dropped (again: at once)")

    there = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    if "SIGHUP" in there and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        there.remove("SIGHUP")  # nohup says that the end of the terminal shall change nothing
    numbers = [getattr(signal, name) for name in there]
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _open_streams() -> None:
    """Streams that were closed lead nowhere: else the next file opened would be written what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. A user's mistake is a message, never a traceback."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a prompt's characters
    try:
        code = cli.main(
            args=arguments,
            prog_name=progress.program(),
            standalone_mode=False,
            complete_var=commands.COMPLETE_VARIABLE,
        )
        return int(code or 0)
    except click.ClickException as error:
        error.show()
        return errors.EXIT_USER
    except click.Abort:
        return errors.EXIT_INTERRUPTED
    except errors.Interrupted as error:
        _say(f"stopped: {error}\nrun the same command again to go on")
        return error.exit_code
    except errors.BatchError as error:
        # A manifest's problems stay as editors read them: file:line: message.
        _say(str(error) if isinstance(error, errors.ManifestError) else f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:
        _into_nothing(sys.stdout)
        return errors.EXIT_OK
    except OSError as error:
        _say(f"error: {error}")
        return errors.EXIT_FAILED
