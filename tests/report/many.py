"""Pages of runs that nobody rendered: as many images as asked, within a second or two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from batch.plan.pins import Pins
from batch.records.receipts import ErrorInfo, Failure, FileRef, Machine, Measurement, Receipt, StagePeak
from batch.records.tasks import Task
from batch.report import book
from batch.store.folder import RunFolder
from batch.store.job import Origin
from batch.store.receipts import Scan

TASK = Task(
    model="demo", revision="r", dtype="float32", prompt="", seed=0, width=512, height=512, rendered_width=512,
    rendered_height=512, steps=20, guidance=5.0,
)  # fmt: skip


def task(number: int, **values: object) -> Task:
    """One of a plan, in a line of its own of a manifest."""
    source = f"job.yaml:{number + 1}"
    known = {"id": f"{number:016x}", "picture_id": f"{number:016x}", "name": f"image-{number}", "source": source}
    return replace(TASK, **known | values)


def seeds_of_prompts(prompts: int, seeds: int) -> list[Task]:
    """So many prompts, each with so many seeds."""
    return [
        task(number, prompt=f"landscape {number // seeds} of the north, at dawn", seed=number % seeds)
        for number in range(prompts * seeds)
    ]


def written(root: Path, tasks: Sequence[Task], failed: int = 0, missing: Sequence[int] = ()) -> Path:
    """The page of a run of these tasks, in an empty folder: one of every ``failed`` failed, some are missing.

    Thumbnails are one file, eight pixels across, and so are pictures of one size.
    """
    folder = RunFolder(root, "bench")
    folder.begin("bench", "render", Origin(), tasks, Pins())
    receipts, failures = {}, {}
    for number, one in enumerate(tasks):
        if number in missing:
            continue
        if failed and number % failed == failed - 1:
            failures[one.id] = _failure(one)
        else:
            receipts[one.id] = _receipt(one, number)
    path = book.Book(folder, tasks, Scan(receipts=receipts, failures=failures)).write().html
    _pictures(root, tasks)
    return path


def _receipt(one: Task, number: int) -> Receipt:
    cost = Measurement(
        denoise=StagePeak(seconds=2.0 + number % 7 / 8, rss=2**30 + number * 2**10),
        decode=StagePeak(seconds=0.3),
        save_s=1.3,
    )
    file = FileRef(
        path=f"images/{one.name}.png", bytes=1000 + number, sha256="", width=one.width, height=one.height
    )
    return Receipt(task=one, file=file, measurement=cost, machine=Machine(), attempts=1, started_at=f"{number:08}")


def _failure(one: Task) -> Failure:
    error = ErrorInfo(kind="OutOfMemoryError", message="CUDA out of memory", stage="decode")
    return Failure(task=one, error=error, measurement=Measurement(), machine=Machine(), attempts=2, started_at="")


def _pictures(root: Path, tasks: Sequence[Task]) -> None:
    for folder in ("thumbs", "images"):
        (root / folder).mkdir(exist_ok=True)
    thumb = root / "thumbs" / f"{tasks[0].id}.webp"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(thumb)
    for one in tasks[1:]:
        (root / "thumbs" / f"{one.id}.webp").hardlink_to(thumb)
    first: dict[str, Path] = {}
    for one in tasks:
        path = root / "images" / f"{one.name}.png"
        if one.size in first:
            path.hardlink_to(first[one.size])
            continue
        first[one.size] = path
        Image.fromarray(np.full((one.height, one.width, 3), 90, np.uint8)).save(path)
