"""From a manifest to its plan and its run folder. Touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from batch.base import hardware
from batch.base.checksums import untold
from batch.hub.permissions import Permissions
from batch.manifest.read import read_manifest
from batch.manifest.schema import Manifest
from batch.memory import quantised
from batch.plan import batching
from batch.plan.build import build_plan
from batch.plan.estimate import cost
from batch.plan.known import Known
from batch.plan.pins import Pins
from batch.run import crew, host
from batch.run.lookup import lookup
from batch.store import history
from batch.store.folder import RunFolder, runner_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batch.base.checksums import Tell
    from batch.base.hardware import Hardware
    from batch.hub.downloads import FetchOptions
    from batch.plan.plan import Plan
    from batch.plan.rates import Rates
    from batch.records.events import Seat
    from batch.records.tasks import Task
    from batch.run.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that a run sets out from."""

    manifest: Manifest
    plan: Plan
    folder: RunFolder
    before: Pins
    """What the folder had pinned when it was planned."""
    earlier: Rates
    """What images took in earlier runs on this machine, on the device that will render."""
    crew: tuple[Seat, ...]
    """The seats that a run is expected to have; () where that is not known."""
    impossible: tuple[str, ...]
    """Why some of it cannot be rendered on this machine."""

    @property
    def part(self) -> Plan:
        """What this run renders of the plan."""
        return self.plan.part(self.folder.shard)


def prepare(
    manifest_path: Path, options: Options, *, online: FetchOptions | None = None, tell: Tell = untold
) -> Prepared:
    """Read and plan. With ``online`` the Hub is asked, ``tell`` is told: see :func:`~batch.run.lookup.lookup`."""
    manifest = read_manifest(manifest_path, options.overrides)
    folder = RunFolder(options.out or Path("outputs") / manifest.name, runner_id(), shard=options.shard)
    pins = Pins()
    if folder.exists():
        folder.require()
        pins = folder.pins()
    found = lookup(
        manifest.folder,
        pins,
        online=online,
        permissions=Permissions(pickles=manifest.allow_pickle, code=manifest.trust_remote_code),
        tell=tell,
    )
    here = hardware.look(options.devices)
    earlier = history.read().learned(device=here.device)
    plan = _with_batches(build_plan(manifest, found, pins), manifest, options, here, earlier)
    impossible = tuple(quantised.impossible(plan.tasks, card=here.card))
    seats = crew.expected(plan, options)
    crowded = host.warning(plan, here.memory, min(len(seats), len(plan.tasks)))
    also = (*(f"not here: {why}" for why in impossible), *([crowded] if crowded else []), *_absent(options))
    plan = replace(plan, warnings=(*plan.warnings, *also))
    source = folder.origin().source if folder.exists() else ""
    if source and Path(source) != manifest_path.resolve():
        warning = f"{folder.root} was last run from {source}"
        if options.out is None:
            warning += "; name the run folder with --out if this is another job"
        plan = replace(plan, warnings=(*plan.warnings, warning))
    return Prepared(
        manifest=manifest, plan=plan, folder=folder, before=pins, earlier=earlier, crew=seats,
        impossible=impossible,
    )  # fmt: skip


def _absent(options: Options) -> Iterator[str]:
    """Torch has the last word; whoever plans for another machine is told what the figures are of."""
    if found := hardware.absent(options.devices):
        yield (
            f"--devices {options.devices}: {' and '.join(found)} not seen on this machine. A run ends at once "
            "where torch does not find them either, and times are judged by what has rendered here"
        )


def _with_batches(plan: Plan, manifest: Manifest, options: Options, here: Hardware, earlier: Rates) -> Plan:
    """The plan with its batches and what is compiled; what was left to ``auto`` is pinned."""
    run = manifest.run
    around = batching.Surroundings(
        card=here.card,
        memory=min(filter(None, (here.memory, options.vram_limit)), default=None),
        no_compiler=here.no_compiler,
        batch=run.batch,
        compile=run.compile,
        rate=lambda task: _rate(task, earlier),
    )
    choices = batching.choose(plan.tasks, plan.models, around, plan.pins.numerics)
    before = plan.pins.numerics
    pinned = {name: {**before.get(name, {}), **choice.pins} for name, choice in choices.items() if choice.pins}
    pins = replace(plan.pins, numerics={**before, **pinned})
    single = {
        item.model: item.why_batch for item in choices.values() if run.batch not in (item.numerics.batch, "auto")
    }
    warnings = [f"run.batch has no effect on {name}: {single[name]}" for name in sorted(single)]
    if run.compile == "on":
        plain = {item.model: item.why_compile for item in choices.values() if not item.numerics.compile}
        warnings += [f"run.compile has no effect on {name}: {why}" for name, why in plain.items()]
    return replace(plan, pins=pins, choices=choices, warnings=(*plan.warnings, *warnings))


def _rate(task: Task, earlier: Rates) -> float | None:
    """Seconds per unit of :func:`~batch.plan.estimate.cost`."""
    found = Known(history=earlier).image(task)
    return None if found is None else found.value / cost(task)
