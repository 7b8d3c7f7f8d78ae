"""Pictures and run folders back to a manifest that renders them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from batch.base.errors import UserError
from batch.manifest import recover
from batch.manifest.foreign import named
from batch.manifest.recovered import Recovered
from batch.records.kinds import RunKind, Status
from batch.records.reading import to_json
from batch.store.folder import RunFolder
from batch.store.images.reading import read_metadata

Only = Literal["done", "failed", "missing"]


def manifest_from(sources: Sequence[Path], *, only: Only | None, model: str | None) -> tuple[str, list[str]]:
    """The YAML of a manifest, and what could not be carried over.

    A source is an image, or a run folder, of which ``only`` takes the tasks in one state. ``model``
    replaces the models of all. Raises :class:`UserError` for a source that says nothing.
    """
    pictures: list[tuple[str, Recovered]] = []
    for source in sources:
        if RunFolder(source).exists():
            pictures.extend(_from_run(source, only))
        elif source.is_dir():
            raise UserError(
                f"{source} is a folder, but no run folder; name the run folder, or images: {source}/*.png"
            )
        elif only is not None:
            raise UserError(f"{source} is not a run folder; --only is for run folders")
        else:
            pictures.append((str(source), _from_image(source)))
    if not pictures:
        raise UserError(f"no {only or 'planned'} image in {', '.join(map(str, sources))}")
    if model is not None:
        pictures = [(name, replace(item, axes={**item.axes, "model": model})) for name, item in pictures]
    outputs = [dict(picture.output) for _, picture in pictures]
    several = any(output != outputs[0] for output in outputs)
    notes = ["the pictures are of several formats; the manifest writes png"] if several else []
    if places := dict.fromkeys(place for _, picture in pictures for place in recover.places(picture)):
        notes.append(f"look at the places that the pictures name before you run it: {named(places)}")
    notes += dict.fromkeys(f"{name}: {note}" for name, picture in pictures for note in picture.notes)
    return recover.to_yaml(pictures), notes


def _from_image(path: Path) -> Recovered:
    texts = read_metadata(path)
    if not texts:
        raise UserError(f"{path} says nothing of how it was made: it has no metadata")
    try:
        return recover.from_metadata(texts)
    except ValueError as error:
        why = f" ({error})" if str(error) else ""
        raise UserError(f"{path} has texts ({named(texts)}), but none that is understood here{why}") from None


def _from_run(root: Path, only: Only | None) -> Iterator[tuple[str, Recovered]]:
    folder = RunFolder(root)
    folder.require()
    scan = folder.scan()
    tasks = folder.tasks()
    if folder.kind() == RunKind.MEASURE:  # a picture is there under every setting and repeat
        tasks = list({task.picture_id: task for task in reversed(tasks) if not task.warmup}.values())[::-1]
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
