"""The commands around a run: check, clear up, models, machine, shell completion. ``cli.py`` adds them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from batch.base import errors

run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path, file_okay=False))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
devices_option = click.option(
    "--devices", metavar="N|cpu", help="The device: a GPU's number, or cpu. Default: the first GPU."
)

manifest_argument = click.argument("manifest", type=click.Path(path_type=Path))


class FolderName(click.Path):
    """A folder; an empty one is a variable of a script that was not set, and not the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        if not str(value).strip():
            self.fail("it is empty; name a folder, or leave the option out", param, ctx)
        return super().convert(value, param, ctx)


out_option = click.option("--out", type=FolderName(), help="The run folder itself. Default: outputs/<name>.")
set_option = click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True,
    help="Set an axis or a dotted key, for example seed=0..3 or run.retries=1; wins over the manifest.",
)  # fmt: skip


def _use_cache(context: click.Context, _option: click.Parameter, folder: str | None) -> None:
    """Set the environment before anything reads it; a worker and a download inherit it."""
    if folder is not None:
        from batch.hub import cache

        if not folder.strip():
            raise click.BadParameter("it is empty; name a folder, or leave the option out")
        context.with_resource(cache.used(Path(folder)))


cache_dir_option = click.option(
    "--cache-dir", metavar="DIR", type=click.Path(file_okay=False), callback=_use_cache,
    expose_value=False, help="The folder with the models of the Hub. Default: HF_HUB_CACHE, else HF_HOME/hub.",
)  # fmt: skip


def seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``1.5h`` as seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    taken = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if taken <= 0:
        raise click.BadParameter(f"'{text}' is no time; write 90s, 10m or 1h")
    return taken


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


PROGRAM = "run-batch"
COMPLETE_VARIABLE = "_RUN_BATCH_COMPLETE"


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


@click.group(name="manifest", short_help="Make a manifest from pictures; its schema.")
def manifest_group() -> None:
    """Make a manifest from pictures; print the schema that editors check manifests with."""


@manifest_group.command(name="from", short_help="Write the manifest that renders pictures.")
@click.argument("sources", metavar="IMAGE|RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file instead of printing.")
@click.option("--only", type=click.Choice(["done", "failed", "missing"]),
              help="Of a run folder, the images in this state.")  # fmt: skip
@click.option("--model", help="Use this model instead of the one the pictures name.")
def manifest_from(*, sources: tuple[Path, ...], output: Path | None, only: Any, model: str | None) -> int:
    """Write the manifest that renders pictures again: ours, or ones of A1111, SwarmUI or InvokeAI."""
    from batch.upkeep import manifest_from

    text, notes = manifest_from.manifest_from(sources, only=only, model=model)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if output is None:
        click.echo(text, nl=False)
        return errors.EXIT_OK
    if output.exists():
        raise errors.UserError(f"{output} exists; name another file")
    output.write_text(text, encoding="utf-8")
    click.echo(f"  {output}")
    return errors.EXIT_OK


@manifest_group.command(name="schema", short_help="Print the JSON Schema of a manifest.")
def manifest_schema() -> int:
    """Print the JSON Schema of a manifest, for editors that complete and check YAML."""
    from batch.manifest.json_schema import json_schema

    _print_json(json_schema())
    return errors.EXIT_OK


@click.command(short_help="Check every image against its receipt.")
@run_argument
@click.option("--reproduce", metavar="N", type=click.IntRange(min=1),
              help="Render N of the done images again, drawn at random, and compare the pixels.")  # fmt: skip
@click.option("--sample", metavar="NUMBER", type=int,
              help="With --reproduce: another number draws other images. Default: 0.")  # fmt: skip
@devices_option
@cache_dir_option
@json_option
def verify(
    *, run_folder: Path, reproduce: int | None, sample: int | None, devices: str | None, as_json: bool
) -> int:
    """Check every image against its receipt; with --reproduce also render some again.

    Reads only and works while a run is going on. Ends with 0 when everything that the manifest names is
    there and whole, else with 1.
    """
    from batch import upkeep
    from batch.cli import progress, show_upkeep

    for name, value in (("--sample", sample), ("--devices", devices)):
        if reproduce is None and value is not None:
            raise errors.UserError(f"{name} has no effect without --reproduce")
    with progress.counting("image") as advance:
        found = upkeep.verify(run_folder, advance)
    again = None
    if reproduce is not None:
        watcher = progress.Silent() if as_json else progress.watcher(quiet=False, as_json=False)
        again = upkeep.reproduce(run_folder, found.done, reproduce, sample or 0, devices, watcher)
    data = show_upkeep.verification_json(found, again)
    if as_json:
        _print_json(data)
    else:
        click.echo(show_upkeep.verification_text(found, again))
    return errors.EXIT_OK if data["ok"] else errors.EXIT_FAILED


@click.command(short_help="Move away what the manifest dropped.")
@run_argument
@click.option("--dry-run", is_flag=True, help="List what would be moved, with sizes; touch nothing.")
@click.option("--restore", metavar="TIME", help="Put back what an earlier prune moved to trash/TIME.")
@json_option
def prune(*, run_folder: Path, dry_run: bool, restore: str | None, as_json: bool) -> int:
    """Move images that the manifest no longer names to RUN/trash; deletes nothing."""
    from batch import upkeep
    from batch.cli import show_upkeep

    if restore is not None:
        if dry_run:
            raise errors.UserError("--dry-run and --restore do not go together")
        paths = upkeep.restore(run_folder, restore)
        if as_json:
            _print_json({"folder": str(run_folder), "restored": list(paths)})
        else:
            click.echo(f"put back {len(paths)} files")
        return errors.EXIT_OK
    pruned = upkeep.prune(run_folder, dry_run=dry_run)
    if as_json:
        _print_json(show_upkeep.pruned_json(pruned, run_folder))
    else:
        click.echo(show_upkeep.pruned_text(pruned, run_folder))
    return errors.EXIT_OK


@click.command(short_help="List models and memory settings.")
@click.argument("name", required=False)
@click.option("--memory", "memory_settings", is_flag=True, help="Explain the memory settings instead.")
@cache_dir_option
@json_option
def models(*, name: str | None, memory_settings: bool, as_json: bool) -> int:
    """List the known models with sizes and defaults; with NAME show one with all its sizes."""
    from batch import hub
    from batch.catalogue.models import known_models, own_file
    from batch.cli import show_machine
    from batch.memory import profiles, steps
    from batch.plan import checks

    if memory_settings:
        if name:
            raise errors.UserError("--memory takes no model: the settings are the same for every one")
        if as_json:
            _print_json(show_machine.memory_json(profiles.PROFILES, steps.STEPS))
        else:
            click.echo(show_machine.memory_text(profiles.PROFILES, steps.STEPS))
        return errors.EXIT_OK
    found = [hub.find_model(name, Path(), {}, online=False)] if name else list(known_models().values())
    here = {model.name: hub.here(model) for model in found}
    data = [show_machine.model_json(model, here[model.name]) for model in found]
    if as_json:
        _print_json(data[0] if name else data)
    elif name:
        click.echo(show_machine.model_text(found[0], here[found[0].name], checks.possible_schedulers(found[0])))
    else:
        click.echo(show_machine.models_text(found, here, own_file()))
    return errors.EXIT_OK


@click.command(short_help="Say what this machine has and lacks.")
@cache_dir_option
@json_option
def doctor(*, as_json: bool) -> int:
    """Look at this machine: Python, torch, GPUs, memory, disk, packages, and what is missing.

    Ends with 0 when images can be rendered here, and with 1 when something stops it.
    """
    from batch.cli import show_machine
    from batch.upkeep import doctor as examination

    found = examination.examine()
    if as_json:
        _print_json(show_machine.doctor_json(found))
    else:
        lacking = [extra for extra, packages in found.extras.items() if None in packages.values()]
        remedies = {extra: examination.extra_remedy(extra) for extra in lacking}
        click.echo(show_machine.doctor_text(found, remedies))
    return errors.EXIT_OK if found.device else errors.EXIT_FAILED


@click.command(short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> int:
    """Print the script that completes run-batch's commands, options and files in a shell.

    \b
        run-batch completion bash >> ~/.bashrc
        run-batch completion zsh >> ~/.zshrc
        run-batch completion fish > ~/.config/fish/completions/run-batch.fish
    """  # noqa: D301 - click's \\b must be the character itself
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # the three shells are click's own
    script = found(context.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE)
    sys.stdout.write(script.source_template % script.source_vars() + "\n")
    return errors.EXIT_OK


@click.command(short_help="Compare time, memory and pixels of runs.")
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=FolderName(), help="Write compare.csv, compare.html and differences there too.")
@json_option
def compare(run_folders: tuple[Path, ...], out: Path | None, as_json: bool) -> int:
    """Compare runs and memory settings: time, memory, energy, and pixels against the reference."""
    from batch.report.compare import comparison as comparing
    from batch.report.compare import page, table

    result = comparing.compare(comparing.read(run_folders))
    written = page.write(out, result) if out else []
    if as_json:
        _print_json(comparing.as_json(result))
        return errors.EXIT_OK
    click.echo(table.text(result))
    for path in written:
        click.echo(f"  {path}")
    return errors.EXIT_OK


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
    from batch import hub
    from batch.cli import progress
    from batch.run import runner

    told = progress.Fetching()
    how = hub.FetchOptions(tell=told, stall=stall_timeout or hub.STALL_S, exact=True, newest=True, check=check)
    try:
        _, made, _ = runner.prepare(manifest, runner.Options(out=out, overrides=overrides), online=how)
        fetched = {item.name for item in hub.ensure(made.models.values(), how)}
    except KeyboardInterrupt:
        raise errors.Interrupted(hub.INTERRUPTED) from None
    finally:
        told.closed()
    for warning in made.warnings:
        click.echo(f"warning: {warning}", err=True)
    for model in made.models.values():
        if model.name not in fetched:
            click.echo(f"{model.name}: {_why_nothing(model)}, nothing to download")
    for lora in {lora.source for task in made.tasks for lora in task.loras if lora.source}:
        click.echo(f"{lora} is on this machine")
    return errors.EXIT_OK


def _why_nothing(model: Any) -> str:
    if model.random:
        return "has random weights"
    if model.repo:
        return f"{model.repo} at {model.revision[:12]} is complete"
    return "ships with the program" if model.package else f"is the folder {model.folder}"


ALL = (verify, compare, prune, fetch, models, doctor, manifest_group, completion)
