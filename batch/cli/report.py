"""``report``: rebuild the table, the sheet and the page; and a sheet arranged as one likes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base import errors
from batch.base.text import one_line
from batch.cli.options import run_argument
from batch.cli.terminal import say, show

if TYPE_CHECKING:
    from batch.report.sheet.chosen import Choice, Pages

_FORMATS = ("jpeg", "png", "webp", "pdf")


class _Pages(click.ParamType["Pages"]):
    """``3``, ``2-5`` or ``one``: the first and the last page, or that word."""

    name = "N|A-B|one"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Pages:
        """See click."""
        if value == "one":
            return "one"
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", str(value).strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            self.fail(
                f"{value} names no pages; write a number, as 2, a range, as 2-5, or one for all on one page",
                param,
                ctx,
            )
        return first, last


@click.command(short_help="Rebuild the table, the sheet and the page.")
@run_argument
@click.option("--rows", metavar="AXIS", multiple=True, help="Of another sheet: what goes down. May be repeated.")
@click.option("--columns", metavar="AXIS", multiple=True, help="What goes across. May be repeated.")
@click.option(
    "--cell",
    type=click.IntRange(48, 8192),
    help="Pixels of the longer side of a picture. Default: 256, or what fills the pages of a PDF.",
)
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="How it is written. Default: jpeg.")
@click.option("--pages", type=_Pages(), help="Only these of its pages; one: all on one page.")
def report(
    run_folder: Path,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    cell: int | None,
    kind: str | None,
    pages: Pages | None,
) -> int:
    """Rebuild results.csv, the contact sheet and report.html from the receipts.

    With any of the options, another sheet is written beside these, under a name that says how it is arranged.
    """
    from batch.cli import progress
    from batch.run import runner

    with progress.counting("page") as drawn:
        made, more = runner.report(run_folder, _choice(rows, columns, cell, kind, pages), drawn)
    for warning in made.warnings:
        say(one_line(f"warning: {warning}"))
    for path in (made.csv, *made.sheets, *more, made.html):
        show(one_line(f"  {path}"))
    return errors.EXIT_OK


def _choice(
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    cell: int | None,
    kind: str | None,
    pages: Pages | None,
) -> Choice | None:
    from batch.report.sheet.chosen import Choice

    if not (rows or columns or cell or kind or pages):
        return None
    if twice := set(rows) & set(columns):
        raise errors.UserError(f"{min(twice)} cannot go down and across; name another axis for --columns")
    return Choice(
        rows=rows,
        columns=columns,
        cell=cell,
        format=kind or "jpeg",
        pages=pages,
    )
