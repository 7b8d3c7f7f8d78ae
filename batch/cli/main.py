"""The command line: options in, printed words and an exit code out. Everything else is the runner's."""

from __future__ import annotations

import atexit
import gc
import io
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from batch import __version__
from batch.base import errors
from batch.base.shell import program
from batch.base.text import one_line
from batch.cli import (
    compare,
    completion,
    doctor,
    fetch,
    manifest,
    mistakes,
    models,
    plan,
    prune,
    redecode,
    report,
    run,
    status,
    steer,
    verify,
)
from batch.cli.terminal import let_go, open_streams, say


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


@click.group(cls=_Commands, context_settings={"help_option_names": ("-h", "--help"), "max_content_width": 100})
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


# Each imports what it needs when it is called, so that the help and the completion of a shell are quick.
for _command in (
    run.run, plan.plan, status.status, steer.stop, steer.pause, steer.resume,
    report.report, redecode.redecode, verify.verify, compare.compare,
    prune.prune, fetch.fetch, models.models, doctor.doctor, manifest.manifest, completion.completion,
):  # fmt: skip
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. A user's mistake is a message, never a traceback."""
    open_streams()
    # Of a large plan the garbage collector's last look alone took most of a second.
    atexit.register(gc.freeze)
    try:
        return _called(arguments)
    finally:
        let_go()


def _called(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(
            args=arguments,
            prog_name=program(),
            standalone_mode=False,
            complete_var=completion.VARIABLE,
        )
        return int(code or 0)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        say(told.getvalue().rstrip("\n"))
        return errors.EXIT_USER
    except click.Abort:
        return errors.EXIT_INTERRUPTED
    except errors.Interrupted as error:
        say(f"stopped: {error}\nrun the same command again to go on")
        return error.exit_code
    except errors.BatchError as error:
        say(mistakes.told(error))
        return error.exit_code
    except KeyboardInterrupt:
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:
        return errors.EXIT_OK
    except OSError as error:
        say(one_line(f"error: {errors.in_words(error)}"))
        return errors.EXIT_FAILED
