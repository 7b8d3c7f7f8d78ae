"""``status``: how far a run is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from batch.base import errors
from batch.cli.options import json_option, run_argument
from batch.cli.standing import summary_parts
from batch.cli.terminal import print_json, show


@click.command(short_help="Show how far a run is.")
@run_argument
@click.option("--watch", is_flag=True, help="Refresh every two seconds until the run is over; q quits.")
@json_option
def status(run_folder: Path, *, watch: bool, as_json: bool) -> int:
    """Show how far a run is, also while it is running. RUN is its folder or its manifest."""
    from batch.store.status import summarize

    if watch and as_json:
        raise errors.UserError("--watch shows a text; with --json leave it out, and ask as often as you like")
    if watch:
        from batch.cli.watch import watch as watching

        watching(run_folder)
        return errors.EXIT_OK
    summary = summarize(run_folder)
    if as_json:
        data = {**asdict(summary), "eta_s": summary.eta_s, "to_render": summary.to_render}
        del data["rest_s"]  # eta_s, where nobody is at work
        print_json(data)
    else:
        show(*summary_parts(summary))
    return errors.EXIT_OK
