"""``manifest``: a manifest to begin with, or one from pictures; the schema that editors check manifests with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from batch.base import errors
from batch.base.shell import program
from batch.base.text import one_line, visible
from batch.cli.terminal import print_json, say, show
from batch.manifest.starters import STARTERS, starter

if TYPE_CHECKING:
    from batch.upkeep.manifest_from import Only


class _Options(TypedDict):
    """Which pictures, and what of them is to be another: the fields of ``Wanted``."""

    only: Only | None
    picks: Path | None
    model: str | None
    overrides: tuple[str, ...]


@click.group(short_help="A manifest to begin with, or from pictures; its schema.")
def manifest() -> None:
    """Make a manifest to begin with, or from pictures; print the schema that editors check manifests with."""


@manifest.command(name="from", short_help="Write the manifest that renders pictures.")
@click.argument("sources", metavar="IMAGE|FOLDER|RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of printing.")
@click.option("--only", type=click.Choice(["done", "failed", "missing"]),
              help="Of a run folder, the images in this state.")  # fmt: skip
@click.option("--picks", metavar="FILE", type=click.Path(path_type=Path),
              help="Of a run folder, the images that this file names, one a line; - reads stdin.")  # fmt: skip
@click.option("--model", help="Use this model instead of the one the pictures name.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True,
              help="Set an axis of all pictures or a dotted key: size=5376x3072, output.format=jpeg.")  # fmt: skip
def from_pictures(*, sources: tuple[Path, ...], output: Path | None, **wanted: Unpack[_Options]) -> int:
    """Write the manifest that renders pictures again: ours, or those of other programs.

    Understood are A1111 and those that write as it does, ComfyUI, Fooocus and its log.html, InvokeAI, SwarmUI,
    NovelAI and Draw Things. A folder stands for the pictures in it; patterns such as "*.png" are expanded.
    """
    from batch.upkeep.manifest_from import Wanted, manifest_from

    text, notes = manifest_from(sources, Wanted(**wanted), output or Path("manifest.yaml"))
    for note in notes:
        say(f"note: {note}")
    if output is None:
        show(text.removesuffix("\n"))
        return errors.EXIT_OK
    _write(output, text)
    show(one_line(f"  {output}"))
    return errors.EXIT_OK


@manifest.command(short_help="Write a commented manifest to begin with.")
@click.argument("kind", type=click.Choice(STARTERS), default=STARTERS[0])
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file; default KIND.yaml.")
def new(*, kind: str, output: Path | None) -> int:
    """Write a commented manifest to begin with: a first job, a night at 4K, or a comparison of memory settings."""
    path = output or Path(f"{kind}.yaml")
    if path.suffix.lower() not in {".yaml", ".yml"}:
        raise errors.UserError(f"{path} is no name of a YAML file; write for example -o {path.stem or kind}.yaml")
    named = one_line(visible(str(path)))  # it stands in comments
    quoted = f'"{named}"' if " " in named else named
    text = starter(kind, run=program(), file=quoted, folder=f"outputs/{Path(named).stem}")
    _write(path, text)
    show(f"  {path}\n  next: {program()} plan {quoted}")
    return errors.EXIT_OK


@manifest.command(short_help="Print the JSON Schema of a manifest.")
def schema() -> int:
    """Print the JSON Schema of a manifest, for editors that complete and check YAML."""
    from batch.manifest.json_schema import json_schema

    print_json(json_schema())
    return errors.EXIT_OK


def _write(path: Path, text: str) -> None:
    """A new file, over none that is there, and through no link that leads nowhere."""
    try:
        with path.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise errors.UserError(f"{path} exists; name another file with -o") from None
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path} cannot be written: {errors.in_words(error)}") from None
