"""``prune``: move images that the manifest no longer names to the run's trash, and put them back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.shell import program, quoted
from batch.base.text import one_line, plural
from batch.cli.options import json_option, run_argument
from batch.cli.terminal import print_json, show

if TYPE_CHECKING:
    from batch.upkeep.prune import Pruned


@click.command(short_help="Move away what the manifest dropped.")
@run_argument
@click.option("--dry-run", is_flag=True, help="List what would be moved; touch nothing.")
@click.option("--restore", metavar="TIME", help="Put back what an earlier prune moved to trash/TIME.")
@json_option
def prune(*, run_folder: Path, dry_run: bool, restore: str | None, as_json: bool) -> int:
    """Move images that the manifest no longer names to RUN/trash; deletes nothing."""
    from batch.upkeep import prune as pruning

    if restore is not None:
        paths = pruning.restore(run_folder, restore, dry_run=dry_run)
        if as_json:
            print_json({"folder": str(run_folder), "would_restore" if dry_run else "restored": list(paths)})
        elif dry_run:
            lines = [f"  {one_line(path)}" for path in paths]
            show("\n".join([*lines, f"would put back {plural(len(paths), 'file')}; nothing was touched"]))
        else:
            show(f"put back {plural(len(paths), 'file')}")
        return errors.EXIT_OK
    pruned = pruning.prune(run_folder, dry_run=dry_run)
    if as_json:
        print_json(pruned_json(pruned, run_folder))
    else:
        show(pruned_text(pruned, run_folder))
    return errors.EXIT_OK


def pruned_text(pruned: Pruned, root: Path) -> str:
    """What ``prune`` prints."""
    if not pruned.items:
        return "nothing to prune: no image is there that the manifest does not name"
    size = f"{pruned.bytes / 2**20:.1f} MiB"
    what = f"{plural(pruned.images, 'image')}, {plural(len(pruned.items), 'file')} in all, {size}"
    if pruned.trash is None:
        lines = [f"  {item.why:9} {item.bytes / 2**20:9.2f} MiB  {one_line(item.path)}" for item in pruned.items]
        return "\n".join([*lines, f"would move {what} to {root / 'trash'}; nothing was touched"])
    restore = f"{program()} prune {quoted(root)} --restore {pruned.trash.name}"
    return f"moved {what} to {pruned.trash}\nput back with: {restore}"


def pruned_json(pruned: Pruned, root: Path) -> dict[str, object]:
    """What ``prune --json`` prints."""
    return {
        "folder": str(root),
        "trash": str(pruned.trash) if pruned.trash else None,
        "images": pruned.images,
        "bytes": pruned.bytes,
        "files": [asdict(item) for item in pruned.items],
    }
