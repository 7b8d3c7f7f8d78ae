"""The arguments and options that several commands share, and the types of their values."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.base.errors import UserError
from batch.engines import ENGINES

if TYPE_CHECKING:
    from batch.records.shard import Shard

manifest_argument = click.argument("manifest", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
events_option = click.option("--json", "as_json", is_flag=True, help="Print JSON events on stdout, one per line.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress, only warnings, failures and how it ended.")
devices_option = click.option(
    "--devices", metavar="LIST",
    help="Where to render, with a worker on each: GPUs by number (0,1) or UUID, all, first, cpu, or cpu,cpu. "
         "Default: all GPUs of the first one's kind, or else the CPU.",
)  # fmt: skip

engine_option = click.option(
    "--engine", type=click.Choice(ENGINES),
    help="process (the default): supervised; local: this process; ray: a Ray cluster.",
)  # fmt: skip


def _one_device(_context: click.Context, _option: click.Parameter, named: str | None) -> str | None:
    """One device; several would have no effect."""
    from batch.base import devices

    devices.refuse_several(named, "this renders a few pictures, on one device")
    if named is not None and named.strip().lower() == devices.ALL:
        raise UserError("--devices all: this renders a few pictures, on one device; name one, or leave it out")
    return named


one_device_option = click.option(
    "--devices", metavar="DEVICE", callback=_one_device,
    help="Where to render: a GPU by its number or UUID, or cpu; one. Default: the first GPU.",
)  # fmt: skip
allow_code_option = click.option(
    "--allow-code", is_flag=True,
    help="Let models use the pickles and the code of their own that the run's manifest allowed.",
)  # fmt: skip
set_option = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True,
    help="Set an axis or a dotted key, such as seed=0..3 or run.retries=1; overrides the manifest.",
)  # fmt: skip


_LONGEST = 366 * 24 * 3600
"""Seconds of a year, the longest time that anybody waits for."""


class FolderName(click.Path):
    """A folder; an empty one is a variable of a script that was not set, and not the current folder."""

    def __init__(self, *, file_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """See click."""
        if not str(value).strip():
            self.fail("it is empty; name a folder, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


class RunName(click.Path):
    """A run folder, by its own name or by that of the manifest that is run there without ``--out``."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        """See click. Raises :class:`~batch.base.errors.UserError` for a manifest that names no run folder."""
        if Path(value).is_file():
            return _folder_of(Path(value))
        return super().convert(value, param, ctx)


def _folder_of(manifest: Path) -> Path:
    from batch.manifest.read import read_manifest
    from batch.store.folder import RunFolder

    folder = RunFolder(Path("outputs") / read_manifest(manifest).name)
    if not folder.exists():
        raise UserError(f"{manifest} has no run in {folder.root}; if it was run with --out, name that folder")
    source = folder.origin().source
    if source and Path(source) != manifest.resolve():
        raise UserError(f"{folder.root} was last run from {source}, not from {manifest}: name the folder meant")
    return folder.root


run_argument = click.argument("run_folder", metavar="RUN", type=RunName())
out_option = click.option("--out", type=FolderName(), help="The run folder itself. Default: outputs/<name>.")


def _use_cache(context: click.Context, _option: click.Parameter, folder: Path | None) -> None:
    """Set the environment before anything reads it; a worker and a download inherit it."""
    if folder is not None:
        from batch.hub import cache

        context.with_resource(cache.used(folder))


cache_dir_option = click.option(
    "--cache-dir", metavar="DIR", type=FolderName(file_okay=False), callback=_use_cache,
    expose_value=False, help="The folder of models from the Hub. Default: HF_HUB_CACHE, else HF_HOME/hub.",
)  # fmt: skip


def seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``1.5h`` as seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    taken = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < taken <= _LONGEST:
        raise click.BadParameter(f"'{text[:60]}' is no time; write 90s, 10m or 1h")
    return taken


stop_within_option = click.option(
    "--stop-within", metavar="TIME", callback=seconds,
    help="The longest a stop may take, report included; an image that needs longer is dropped. 20s, 5m.",
)  # fmt: skip


def _which_shard(_context: click.Context, _option: click.Parameter, text: str | None) -> Shard | None:
    """``2/8``, ``auto``. Raises :class:`~batch.base.errors.UserError`."""
    if text is None:
        return None
    from batch.run.divided import asked

    return asked(text, os.environ)


shard_option = click.option(
    "--shard", metavar="I/N|auto", callback=_which_shard,
    help="Render the I-th of N parts, as 2/8, in a folder that all N share; auto: as SLURM or Kubernetes says.",
)  # fmt: skip


def size_in_bytes(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """``8GiB``, ``500 MB`` in bytes."""
    from batch.manifest.schema import byte_size

    if text is None:
        return None
    try:
        size = byte_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if size < 2**20:
        raise click.BadParameter(f"'{text}' is {size} bytes; write 8GiB or 6000MB")
    return size
