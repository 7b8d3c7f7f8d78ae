"""``fetch``: download the models and LoRAs of a manifest ahead of the night."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import one_line
from batch.cli.options import cache_dir_option, manifest_argument, out_option, seconds, set_option
from batch.cli.terminal import say, show
from batch.records.tasks import short_revision

if TYPE_CHECKING:
    from batch.catalogue.model import Model


@click.command(short_help="Download the models ahead of the night.")
@manifest_argument
@out_option
@set_option
@cache_dir_option
@click.option("--stall-timeout", metavar="TIME", callback=seconds,
              help="So long without a byte, and a download is begun anew: 30s, 5m. Default: 60s.")  # fmt: skip
@click.option("--check", is_flag=True, help="Compare the content of what is here with the Hub's hashes, too.")
def fetch(
    manifest: Path, out: Path | None, overrides: tuple[str, ...], stall_timeout: float | None, *, check: bool
) -> int:
    """Download the models and LoRAs of a manifest ahead of the night."""
    from batch.cli.downloads import DownloadBar
    from batch.hub.downloads import STALL_S, FetchOptions
    from batch.hub.ensure import ensure
    from batch.hub.watch import INTERRUPTED
    from batch.records.events import Closed
    from batch.run.options import Options
    from batch.run.prepare import prepare

    told = DownloadBar(sys.stdout)
    how = FetchOptions(listener=told, stall=stall_timeout or STALL_S, exact=True, newest=True, check=check)
    try:
        made = prepare(manifest, Options(out=out, overrides=overrides), online=how).plan
        fetched = {item.name for item in ensure(made.models.values(), how)}
    except KeyboardInterrupt:
        raise errors.Interrupted(INTERRUPTED) from None
    finally:
        told.on(Closed())
    for warning in made.warnings:
        say(one_line(f"warning: {warning}"))
    for model in made.models.values():
        if model.name not in fetched:
            show(f"{model.name}: {_why_nothing(model)}, nothing to download")
    beside = {item for task in made.tasks for item in (*task.loras, task.vae) if item and item.source}
    for source in sorted({item.source.rstrip("/") for item in beside}):
        show(f"{source} is on this machine")
    return errors.EXIT_OK


def _why_nothing(model: Model) -> str:
    if model.random:
        return "has random weights"
    if model.checkpoint is not None:
        rest = f", what it lacks of {model.repo} at {short_revision(model.revision)} is here" if model.repo else ""
        return f"is a file of this machine{rest}"
    if model.repo:
        return f"{model.repo} at {model.revision[:12]} is complete"
    return "ships with the program" if model.package else f"is the folder {model.folder}"
