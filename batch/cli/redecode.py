"""``redecode``: decode kept latents with another memory setting, into a run of its own."""

from __future__ import annotations

from pathlib import Path

import click

from batch.base.text import plural
from batch.cli.options import (
    FolderName,
    allow_code_option,
    cache_dir_option,
    events_option,
    one_device_option,
    quiet_option,
    run_argument,
    stop_within_option,
)
from batch.cli.terminal import say, stoppable


@click.command(short_help="Decode kept latents with other tiles.")
@run_argument
@click.option("--memory", metavar="SETTING", required=True,
              help="The memory setting to decode with, for example full or vae_tiling(512, 448).")  # fmt: skip
@click.option("--out", type=FolderName(),
              help="The new run folder. Default: RUN-SETTING, beside RUN.")  # fmt: skip
@allow_code_option
@one_device_option
@stop_within_option
@cache_dir_option
@quiet_option
@events_option
def redecode(
    *,
    run_folder: Path,
    memory: str,
    out: Path | None,
    allow_code: bool,
    devices: str | None,
    stop_within: float | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Decode kept latents again with another memory setting, without denoising, into a run of its own."""
    from batch.cli import ending, shown
    from batch.upkeep import redecode as decoding

    listener = shown.listener(quiet=quiet, as_json=as_json)
    with stoppable(shown.events(as_json=as_json)) as stop:
        done = decoding.redecode(
            run_folder, memory, out, devices, listener, stop, allow_code=allow_code, stop_within=stop_within
        )
    if done.without_latents:
        say(f"{plural(done.without_latents, 'done image')} left out: no latents were kept of them")
    return ending.finish(done.result, as_json=as_json, retry="run the same command again")
