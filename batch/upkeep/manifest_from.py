"""Pictures and run folders back to a manifest that renders them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from batch.base.errors import UserError
from batch.manifest import recover
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
            texts = read_metadata(source)
            found = recover.from_metadata(texts)
            if found is None and texts:
                known = ", ".join(sorted(texts))
                raise UserError(f"{source} has texts ({known}), but none that is understood here")
            if found is None:
                raise UserError(f"{source} says nothing of how it was made: it has no metadata")
            pictures.append((str(source), found))
    if not pictures:
        raise UserError(f"no {only or 'planned'} image in {', '.join(map(str, sources))}")
    if model is not None:
        pictures = [(name, replace(item, axes={**item.axes, "model": model})) for name, item in pictures]
    outputs = [dict(picture.output) for _, picture in pictures]
    several = any(output != outputs[0] for output in outputs)
    notes = ["the pictures are of several formats; the manifest writes png"] if several else []
    notes += dict.fromkeys(f"{name}: {note}" for name, picture in pictures for note in picture.notes)
    return recover.to_yaml(pictures), notes


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
            picture = recover.from_task(json.loads(json.dumps(to_json(task))))
            receipt, model = scan.receipts.get(task.id), picture.axes["model"]
            # Said, and not written: what runs code is allowed by whoever runs it.
            allowed = receipt.allowed if receipt else ()
            notes = [f"{model} needs `{name}: [{model}]` in the manifest" for name in allowed]
            yield task.name, replace(picture, notes=(*picture.notes, *notes))
