"""Pictures and run folders back to a manifest that renders them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from batch.base.errors import UserError
from batch.manifest import recover
from batch.manifest.foreign.draft import named
from batch.manifest.recovered import Recovered
from batch.manifest.writing import to_yaml
from batch.records.kinds import RunKind, Status
from batch.records.reading import to_json
from batch.store.folder import RunFolder
from batch.upkeep.fitting import Fitting
from batch.upkeep.pictures import expanded, read_pictures

Only = Literal["done", "failed", "missing"]

Found = list[tuple[str, Recovered]]
"""Pictures by the name they came from."""

MOST_REASONS = 5
"""Of pictures that say nothing, where there are others."""


def manifest_from(
    sources: Sequence[Path], *, only: Only | None, model: str | None, folder: Path = Path()
) -> tuple[str, list[str]]:
    """The YAML of a manifest, and what could not be carried over, which stands in its comments, too.

    A source is an image, a pattern of images, a folder with images, a log of Fooocus, or a run folder, of which
    ``only`` takes the tasks in one state. ``model`` replaces the models of all. ``folder`` is where the manifest
    will lie. Raises :class:`UserError` where nothing is said of any picture.
    """
    paths = expanded(sources)
    runs = [path for path in paths if RunFolder(path).exists()]
    if only is not None and len(runs) < len(paths):
        other = next(path for path in paths if path not in runs)
        raise UserError(f"{other} is not a run folder; --only is for run folders")
    pictures, notes = _from_images([path for path in paths if path not in runs])
    head = _measured(runs) if runs and len(runs) == len(paths) else {}
    for run in runs:
        pictures += _from_run(run, only, measured=bool(head))
    if not pictures:
        raise UserError(f"no {only or 'planned'} image in {', '.join(map(str, sources))}")
    if model is not None:
        pictures = [
            (name, replace(item, axes={"model": model} | {**item.axes, "model": model})) for name, item in pictures
        ]
    fitting = Fitting(folder, model)
    pictures = [(name, fitting.fitted(picture)) for name, picture in pictures]
    one, texts = pictures[0][0], pictures[0][1].texts
    if another := next((name for name, picture in pictures if picture.texts != texts), None):
        raise UserError(
            f"{one} and {another} differ in long_prompts or prompt_syntax, which hold for a whole manifest; "
            "make one of each kind"
        )
    outputs = [dict(picture.output) for _, picture in pictures]
    if any(output != outputs[0] for output in outputs):
        notes.append("the pictures are of several formats; the manifest writes png")
    if places := dict.fromkeys(place for _, picture in pictures for place in recover.places(picture)):
        notes.append(f"look at the places that the pictures name before you run it: {named(places)}")
    notes += _by_note(pictures)
    return to_yaml(pictures, notes, head), notes


def _from_images(paths: Sequence[Path]) -> tuple[Found, list[str]]:
    """What images say; of many, those that say nothing are told, and left out."""
    found: Found = []
    silent: list[str] = []
    for path in paths:
        try:
            found += read_pictures(path)
        except UserError as error:
            if len(paths) == 1 or not path.exists():
                raise
            silent.append(str(error))
    if silent and not found:
        raise UserError("\n".join(silent[:MOST_REASONS]) + _more(silent))
    return found, [*silent[:MOST_REASONS], *([f"{_more(silent).strip()} say nothing"] if _more(silent) else [])]


def _more(silent: Sequence[str]) -> str:
    return f"\nand {len(silent) - MOST_REASONS:,} more" if len(silent) > MOST_REASONS else ""


def _by_note(pictures: Found) -> Iterator[str]:
    """What is to be said of pictures, each thing once."""
    names: dict[str, list[str]] = {}
    for name, picture in pictures:
        for note in dict.fromkeys(picture.notes):
            names.setdefault(note, []).append(name)
    for note, those in names.items():
        more = f" and {len(those) - 1:,} more" if len(those) > 1 else ""
        yield f"{those[0]}{more}: {note}"


def _measured(runs: Iterable[Path]) -> Mapping[str, object]:
    """What makes a measurement of a manifest, where all of the runs are measurements."""
    folders = [RunFolder(run) for run in runs]
    if any(folder.kind() != RunKind.MEASURE for folder in folders):
        return {}
    return {"kind": "measure", "repeats": max(task.repeat or 1 for folder in folders for task in folder.tasks())}


def _from_run(root: Path, only: Only | None, *, measured: bool) -> Iterator[tuple[str, Recovered]]:
    """The tasks of a run. A measurement that becomes no measurement has every picture once: a setting is none."""
    folder = RunFolder(root)
    folder.require()
    scan = folder.scan()
    tasks = folder.tasks()
    if folder.kind() == RunKind.MEASURE:
        key = (lambda task: (task.picture_id, task.memory)) if measured else (lambda task: task.picture_id)
        tasks = list({key(task): task for task in reversed(tasks) if not task.warmup}.values())[::-1]
    states = dict.fromkeys(scan.failures, Status.FAILED) | dict.fromkeys(scan.receipts, Status.DONE)
    for task in tasks:
        if only in (None, states.get(task.id, "missing")):
            try:
                picture = recover.from_task(json.loads(json.dumps(to_json(task))))
            except ValueError as error:
                raise UserError(f"{task.name} of {root} cannot be said in a manifest: {error}") from None
            receipt, model = scan.receipts.get(task.id), picture.axes["model"]
            # Said, and not written: what runs code is allowed by whoever runs it.
            allowed = receipt.allowed if receipt else ()
            notes = [f"{model} needs `{name}: [{model}]` in the manifest" for name in allowed]
            yield task.name, replace(picture, notes=(*picture.notes, *notes))
