"""``run``: render what is missing, then report: one manifest, or a queue of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.cli.options import (
    cache_dir_option,
    devices_option,
    engine_option,
    events_option,
    out_option,
    quiet_option,
    seconds,
    set_option,
    shard_option,
    size_in_bytes,
    stop_within_option,
)
from batch.cli.terminal import stoppable

if TYPE_CHECKING:
    from batch.records.events import Listener
    from batch.records.shard import Shard
    from batch.run.limits import Limits
    from batch.run.options import Options


@click.command(short_help="Render what is missing, then report.")
@click.argument("manifests", metavar="MANIFEST...", nargs=-1, required=True, type=click.Path(path_type=Path))
@out_option
@set_option
@engine_option
@click.option("--ray-address", metavar="ADDRESS",
              help="With --engine ray: auto, HOST:PORT or ray://HOST:PORT. Default: RAY_ADDRESS, else a Ray of "
                   "its own on this machine.")  # fmt: skip
@devices_option
@shard_option
@click.option(
    "--retry-failed", is_flag=True, help="Try failed images again, even those that have used up their 'retries'."
)
@click.option(
    "--no-fallback", is_flag=True, help="When out of memory, record the failure; try no smaller memory setting."
)
@click.option("--redo-degraded", is_flag=True,
              help="Render again images done with a smaller memory setting than asked for.")  # fmt: skip
@click.option("--restore", is_flag=True,
              help="Render again finished pictures that have been moved or changed.")  # fmt: skip
@click.option("--retry-oom", is_flag=True,
              help="With kind: measure, try again what did not fit and what was skipped for it.")  # fmt: skip
@click.option("--vram-limit", metavar="SIZE", callback=size_in_bytes,
              help="Use no more of the card than this, CUDA itself included: 8GiB.")  # fmt: skip
@click.option("--task-timeout", metavar="TIME", callback=seconds,
              help="Treat this long without a sign of life as a hang: 90s, 10m. Default: learned.")  # fmt: skip
@click.option("--keep-latents", is_flag=True, help="Keep the latents of every rendered image, for redecode.")
@click.option("--until", metavar="TIME",
              help="Start no image that would not be done by then: 07:00, 7am, '2026-11-25 07:00'.")  # fmt: skip
@click.option("--max-hours", metavar="H", help="The same, as hours from the start: 7.5, 8h, 90m.")
@click.option("--max-images", type=int, metavar="N", help="Start at most this many images.")
@click.option("--notify", metavar="TARGET", multiple=True,
              help="Tell this URL or command how the run ends, of stalls, and of a full disk, "
                   "besides those in the manifest.")  # fmt: skip
@stop_within_option
@cache_dir_option
@quiet_option
@events_option
def run(
    *,
    manifests: tuple[Path, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    engine: str | None,
    ray_address: str | None,
    devices: str | None,
    shard: Shard | None,
    retry_failed: bool,
    no_fallback: bool,
    redo_degraded: bool,
    restore: bool,
    retry_oom: bool,
    vram_limit: int | None,
    task_timeout: float | None,
    keep_latents: bool,
    until: str | None,
    max_hours: str | None,
    max_images: int | None,
    notify: tuple[str, ...],
    stop_within: float | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Render what is missing, then write results.csv, the contact sheet and report.html.

    Several manifests run one after the other, with one budget; the exit code is the worst of theirs.
    """
    from batch.base.devices import listed
    from batch.cli import ending
    from batch.run.options import Options

    with ending.of_what_cannot_begin("queue" if len(manifests) > 1 else "end", as_json=as_json):
        listed(devices)  # before anything is looked for
        options = Options(
            out=out,
            overrides=overrides,
            devices=devices,
            engine=engine or "",
            shard=shard,
            ray_address=ray_address or "",
            retry_failed=retry_failed,
            fallback=not no_fallback,
            redo_degraded=redo_degraded,
            restore=restore,
            retry_oom=retry_oom,
            vram_limit=vram_limit,
            task_timeout=task_timeout,
            keep_latents=keep_latents,
            limits=_limits(until, max_hours, max_images),
            notify=notify,
            stop_within=stop_within,
        )
        if len(manifests) > 1:
            return _several(manifests, options, quiet=quiet, as_json=as_json)
        return _one(manifests[0], options, quiet=quiet, as_json=as_json)


def _limits(until: str | None, max_hours: str | None, max_images: int | None) -> Limits:
    """What ends the run before all is done. Raises :class:`~batch.base.errors.UserError` for what is no time."""
    from batch.run.limits import Limits
    from batch.run.times import parse_hours, parse_until

    end = parse_until(until, datetime.now(UTC)) if until is not None else None
    hours = parse_hours(max_hours) if max_hours is not None else None
    return Limits(until=end, max_hours=hours, max_images=max_images)


def _one(manifest: Path, options: Options, *, quiet: bool, as_json: bool) -> int:
    from batch.cli import ending, shown, telling
    from batch.run import runner

    with stoppable(shown.events(as_json=as_json)) as stop:
        result = runner.run(manifest, options, shown.listener(quiet=quiet, as_json=as_json), stop)
        code = ending.of_run(result, options, as_json=as_json)
        telling.wait([result.telling] if result.telling else [], stop)
    return code


def _several(manifests: tuple[Path, ...], options: Options, *, quiet: bool, as_json: bool) -> int:
    from batch.cli import ending, shown, telling
    from batch.run import notify, targets
    from batch.run.queue import Queue

    said: set[str] = set()

    def listener(manifest: Path) -> Listener:
        found = shown.listener(quiet=quiet, as_json=as_json, run=str(manifest), said=said)
        turn = f"manifest {manifests.index(manifest) + 1} of {len(manifests)}: {manifest}"
        turn += f"; {queue.expected}" if queue.expected else ""
        return found if quiet or as_json else shown.InTurn(found, turn)

    with stoppable(shown.events(as_json=as_json)) as stop:
        queue = Queue(manifests=manifests, options=options, listeners=listener, stop=stop)
        for entry in queue.run():
            more = len(queue.entries) < len(manifests)
            ending.of_entry(entry, options, quiet=quiet, as_json=as_json, more=more)
        notifier = targets.check(queue.targets)
        notify.tell_of_all(notifier, queue.entries, queue.exit_code)
        code = ending.of_queue(queue, as_json=as_json)
        telling.wait([notifier, *queue.telling], stop)
    return code
