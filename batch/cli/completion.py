"""``completion``: the script that completes commands, options and files in a shell."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from batch.base import errors

PROGRAM = "run-batch"
VARIABLE = "_RUN_BATCH_COMPLETE"
"""Of the environment: by it the script asks the program for what may come next."""


@click.command(short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> int:
    """Print the script that completes run-batch's commands, options and files in a shell.

    \b
        run-batch completion bash >> ~/.bashrc
        run-batch completion zsh >> ~/.zshrc
        run-batch completion fish > ~/.config/fish/completions/run-batch.fish
    """  # noqa: D301 - click's \\b must be the character itself
    found = get_completion_class(shell)
    assert found is not None  # the three shells are click's own
    script = found(context.find_root().command, {}, PROGRAM, VARIABLE)
    sys.stdout.write(script.source_template % script.source_vars() + "\n")
    return errors.EXIT_OK
