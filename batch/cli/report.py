"""``report``: rebuild the table, the sheet and the page."""

from __future__ import annotations

from pathlib import Path

import click

from batch.base import errors
from batch.base.text import one_line
from batch.cli.options import run_argument
from batch.cli.terminal import say, show


@click.command(short_help="Rebuild the table, the sheet and the page.")
@run_argument
def report(run_folder: Path) -> int:
    """Rebuild results.csv, the contact sheet and report.html from the receipts."""
    from batch.run import runner

    made = runner.report(run_folder)
    for warning in made.warnings:
        say(one_line(f"warning: {warning}"))
    for path in (made.csv, *made.sheets, made.html):
        show(one_line(f"  {path}"))
    return errors.EXIT_OK
