"""Manifest to plan: expand the grids, check them against the models, give every task its id, order them.

Pure: what has to be looked up (a model, a LoRA file, a random seed) comes in as functions. A million
tasks are a plan too, so whatever tasks share (a model at a size with its settings) is worked out once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batch.base.collector import without_gc
from batch.manifest.limits import TASKS
from batch.manifest.schema import Grid, Manifest
from batch.plan import alike, measuring, names, unused
from batch.plan.cells import TaskMaker
from batch.plan.exclude import Exclusions
from batch.plan.expand import combinations
from batch.plan.findings import DEFAULT, Findings
from batch.plan.found import look_up
from batch.plan.pins import Pinner, Pins
from batch.plan.plan import Plan
from batch.plan.settings import Settings
from batch.records.kinds import RunKind
from batch.records.tasks import Task

if TYPE_CHECKING:
    from batch.plan.found import Lookup


def build_plan(manifest: Manifest, lookup: Lookup, pins: Pins | None = None) -> Plan:
    """Make the plan. Raises :class:`ManifestError` with every problem, each at its file and line."""
    findings = Findings(manifest.source, manifest.warnings)
    pins = pins or Pins()
    begun = pins.begun or lookup.now()
    pinner = Pinner(replace(pins, begun=begun), lookup.draw, manifest.random_variants)
    with without_gc():
        most = sum(combinations(grid, manifest.random_variants) for grid in manifest.grids)
        if most > TASKS:
            findings.wrong(DEFAULT, f"the grid has {most:,} combinations; at most {TASKS:,} are planned")
            findings.stop_on_problems()
        grids = [pinner.resolved(grid) for grid in manifest.grids]
        exclusions = Exclusions(manifest.exclude, pinner)
        found = look_up(grids, lookup, findings)
        settings = Settings(manifest=manifest, found=found, exclusions=exclusions, findings=findings, begun=begun)
        maker = TaskMaker(manifest=manifest, settings=settings, exclusions=exclusions, findings=findings)
        for grid in grids:
            maker.add(grid)
        findings.stop_on_problems()
        pictures = maker.ordered()
        return _plan(maker, grids, pinner, pictures, _final(pictures, manifest, findings, begun))


def _plan(maker: TaskMaker, grids: list[Grid], pinner: Pinner, pictures: list[Task], tasks: list[Task]) -> Plan:
    manifest, found = maker.manifest, maker.settings.found
    pins = pinner.pins(found.revisions())
    return Plan(
        name=manifest.name,
        kind=manifest.kind,
        tasks=tuple(tasks),
        pictures=len(pictures),
        repeats=manifest.repeats,
        settings=len({alike.setting_key(task) for task in pictures}) if manifest.repeats else 0,
        factors=tuple(
            (factor.names, len(factor.rows)) for grid in grids if grid.kind == "grid" for factor in grid.factors
        ),
        rows=sum(grid.kind == "row" for grid in grids),
        cells=maker.cells,
        included=maker.included,
        excluded=maker.exclusions.count,
        duplicates=maker.duplicates,
        sizes=tuple(maker.settings.sizes.values()),
        models=found.models,
        pins=pins,
        new_draws=pinner.new,
        weights_known=found.weights_known,
        warnings=(
            *manifest.warnings,
            *(f"{name}: {note}" for name, model in found.models.items() for note in model.notes),
            *maker.findings.remarks,
            *unused.few_texts(manifest, pins.variants),
            *unused.idle_names(manifest, grids),
            *unused.idle_permissions(manifest, found.models),
            *maker.exclusions.unused(),
        ),
    )


def _final(pictures: list[Task], manifest: Manifest, findings: Findings, begun: str) -> list[Task]:
    """The pictures with names that do not clash; of a measurement, with their repeats and warm-ups."""
    if manifest.kind != RunKind.MEASURE:
        if "{index}" in manifest.output.name:  # known now that they are in order
            return names.assign(pictures, manifest.output.name, begun)
        names.without_clashes(pictures)
        return pictures
    repeats, batch = manifest.repeats, manifest.run.batch
    if len(pictures) * (repeats + measuring.PASSES) > TASKS:
        findings.wrong(DEFAULT, f"{len(pictures):,} images with {repeats} repeats are too many to measure")
        findings.stop_on_problems()
    assert batch != "auto"  # the manifest's reader refuses it
    return measuring.expanded(pictures, repeats, batch, manifest.output.name, begun)
