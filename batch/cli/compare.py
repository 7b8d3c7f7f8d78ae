"""``compare``: time, memory, energy and pixels of runs and memory settings."""

from __future__ import annotations

from pathlib import Path

import click

from batch.base import errors
from batch.base.text import one_line
from batch.cli.options import FolderName, json_option
from batch.cli.terminal import print_json, show


@click.command(short_help="Compare time, memory and pixels of runs.")
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=FolderName(), help="Write compare.csv, compare.html and differences there too.")
@json_option
def compare(run_folders: tuple[Path, ...], out: Path | None, as_json: bool) -> int:
    """Compare runs and memory settings: time, memory, energy, and pixels against the reference."""
    from batch.report.compare import comparison
    from batch.report.compare.comparison import compare_runs
    from batch.report.compare.page import write
    from batch.report.compare.runs import read_runs
    from batch.report.compare.terminal import parts

    result = compare_runs(read_runs(run_folders))
    written = write(out, result) if out else []
    if as_json:
        print_json(comparison.as_json(result))
        return errors.EXIT_OK
    show(*parts(result))
    for path in written:
        show(one_line(f"  {path}"))
    return errors.EXIT_OK
