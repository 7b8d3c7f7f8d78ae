"""The command line: options in, printed words and an exit code out. Everything else is the runner's."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import click

from batch import __version__, errors, progress
from batch.progress import duration, plural

_NAMES = ("-h", "--help")


class _Commands(click.Group):
    """``run`` is understood when a manifest is named without a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args[0] if args else ""
        is_file = named.lower().endswith((".yaml", ".yml", ".csv")) or Path(named).exists()
        if named and named not in self.commands and is_file:
            args = ["run", *args]
        return super().resolve_command(ctx, args)

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


_manifest = click.argument("manifest", type=click.Path(path_type=Path))
_run = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_out = click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder itself. Default: outputs/<name>."
)
_set = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True,
    help="Set an axis or a dotted key, for example seed=0..3 or run.retries=1; wins over the manifest.",
)  # fmt: skip


@cli.command()
@_manifest
@_out
@_set
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True,
              help="Who renders: local is this process.")  # fmt: skip
@click.option("--devices", metavar="N|cpu", help="The device: a GPU's number, or cpu. Default: the first GPU.")
@click.option("--retry-failed", is_flag=True, help="Try again what has failed as often as 'retries' allows.")
@click.option("--quiet", is_flag=True, help="No progress; errors and the last line only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON event a line on stdout.")
def run(
    *,
    manifest: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    engine: str,  # noqa: ARG001 - one engine so far; the choice is checked by click
    devices: str | None,
    retry_failed: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Render what is missing, then write results.csv, the contact sheet and report.html."""
    from batch import runner

    if devices and "," in devices:
        raise errors.UserError(f"--devices {devices}: this engine renders on one device; name one")
    options = runner.Options(out=out, overrides=overrides, devices=devices, retry_failed=retry_failed)
    watcher = progress.watcher(quiet=quiet, as_json=as_json)
    with _stoppable() as stop:
        result = runner.run(manifest, options, watcher, stop)
    for warning in result.report.warnings:
        _say(f"warning: {warning}")
    code = _exit_code(result)
    if as_json:
        progress.Events.emit(
            "end", exit_code=code, total=result.total, rendered=result.rendered, failed=result.failed,
            folder=str(result.folder), seconds=round(result.seconds, 3),
            reason=str(result.stopped) if result.stopped else None,
        )  # fmt: skip
        return code
    _tell(result)
    return code


def _exit_code(result: Any) -> int:
    if result.stopped is not None:
        return int(result.stopped.exit_code)
    return errors.EXIT_FAILED if result.failed else errors.EXIT_OK


def _tell(result: Any) -> None:
    done = result.done_before + result.rendered
    if result.stopped is not None:
        _say(f"stopped: {result.stopped}")
        if result.stopped.exit_code != errors.EXIT_FAILED:
            _say("run the same command again to go on")
    before = f" ({result.done_before} were done before)" if result.done_before else ""
    click.echo(
        f"{plural(result.rendered, 'image')} rendered in {duration(result.seconds)}, "
        f"{done} of {result.total} done{before}" + (f", {result.failed} FAILED" if result.failed else "")
    )
    if result.failed:
        click.echo(f"why: run_batch.py status {result.folder}   try again: add --retry-failed")
    for path in (*result.report.sheets[:1], result.report.csv, result.report.html):
        click.echo(f"  {path}")


@cli.command()
@_manifest
@_out
@_set
@_json
def plan(manifest: Path, out: Path | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what a run would do: the grid's arithmetic, the sizes, what is done. Touches nothing."""
    from batch import runner, show

    options = runner.Options(out=out, overrides=overrides)
    read, made, folder = runner.prepare(manifest, options, online=False)
    folder.check(made.name, made.kind)
    where = runner.standing(made, folder, read.run.retries) if made.ids_known else None
    if as_json:
        click.echo(json.dumps(show.plan_json(made, where, folder.root), indent=2, ensure_ascii=False))
    else:
        click.echo(show.plan_text(made, where, folder.root))
    for warning in made.warnings:
        _say(f"warning: {warning}")
    return errors.EXIT_OK


@cli.command()
@_run
@_json
def status(run_folder: Path, as_json: bool) -> int:
    """Show how far a run is; works while it is going on."""
    from batch import runner, show

    summary = runner.summarize(run_folder)
    if as_json:
        click.echo(json.dumps(show.summary_json(summary), indent=2, ensure_ascii=False))
    else:
        click.echo(show.summary_text(summary))
    return errors.EXIT_OK


@cli.command()
@_run
def report(run_folder: Path) -> int:
    """Rebuild results.csv, the contact sheet and report.html from the receipts."""
    from batch import runner

    made = runner.report(run_folder)
    for warning in made.warnings:
        _say(f"warning: {warning}")
    for path in (made.csv, *made.sheets, made.html):
        click.echo(f"  {path}")
    return errors.EXIT_OK


@cli.command()
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write compare.csv and compare.html there too.")
@_json
def compare(run_folders: tuple[Path, ...], out: Path | None, as_json: bool) -> int:
    """Compare runs and memory settings: time, memory, and pixels against the first run."""
    from batch.report import chart
    from batch.report import compare as comparing

    result = comparing.compare(comparing.read(run_folders))
    written = chart.write(out, result) if out else []
    if as_json:
        click.echo(json.dumps(comparing.as_json(result), indent=2, ensure_ascii=False))
        return errors.EXIT_OK
    click.echo(comparing.text(result))
    for path in written:
        click.echo(f"  {path}")
    return errors.EXIT_OK


@cli.command()
@_manifest
@_out
@_set
def fetch(manifest: Path, out: Path | None, overrides: tuple[str, ...]) -> int:
    """Download the models of a manifest ahead of the night."""
    from batch import fetch as fetching
    from batch import runner

    _, made, _ = runner.prepare(manifest, runner.Options(out=out, overrides=overrides), online=False)
    fetching.fetch(made.models.values(), click.echo)
    return errors.EXIT_OK


@contextmanager
def _stoppable() -> Iterator[Event]:
    """The first Ctrl-C or SIGTERM sets the flag; a second one ends the process at once."""
    stop = Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(errors.EXIT_INTERRUPTED)
        stop.set()
        _say("\nstopping: what is rendered is saved, the image at work is dropped (again: at once)")

    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.signal(name, on_signal) for name in names}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _say(text: str) -> None:
    click.echo(text, err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. A user's mistake is a message, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a prompt's characters
    try:
        code = cli.main(args=arguments, prog_name="run_batch.py", standalone_mode=False)
        return int(code or 0)
    except click.ClickException as error:
        error.show()
        return errors.EXIT_USER
    except click.Abort:
        return errors.EXIT_INTERRUPTED
    except errors.BatchError as error:
        _say(f"error: {error}" if "\n" not in str(error) else str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.EXIT_OK
    except OSError as error:
        _say(f"error: {error}")
        return errors.EXIT_FAILED
