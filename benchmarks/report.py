"""What reports cost: `report` of a whole run, and an image of a run whose reports grow while it goes on.

    python benchmarks/report.py [IMAGES…]

Renders nothing: one real picture is committed under as many task ids as asked, 10, 100, 1,000 and 10,000 by
default. `report` scans the receipts, writes results.csv and report.html and draws the sheets. Of a run with so
many images done, a growing report takes 10 new ones, as a minute brings them: what that costs, and what the first
report of a run costs, which opens the book. Processor seconds, which other programs do not change; medians of
three, of `report` one time.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from batch.manifest.values import Size
from batch.memory import profiles
from batch.plan.identity import identify
from batch.plan.pins import Pins
from batch.records.kinds import Status
from batch.records.receipts import Machine, Measurement, Outcome, Receipt, StagePeak
from batch.records.tasks import Task
from batch.report.book import Book
from batch.report.write import write_report
from batch.store.folder import RunFolder
from batch.store.job import Origin
from batch.store.receipts import Scan

NEW, TIMES = 10, 3
"""Images between two reports of a run that goes on, and how often it is measured."""


def main(images: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root), "bench")
        receipts = filled(folder, images + TIMES * NEW)
        whole = seconds(lambda: write_report(folder))
        first = [
            seconds(lambda: Book(folder, folder.tasks(), Scan()).write(0.0, last=False)) for _ in range(TIMES)
        ]
        book = Book(folder, folder.tasks(), Scan(receipts={item.task.id: item for item in receipts[:images]}))
        book.write(0.0, last=False)
        grown = [seconds(partial(grow, book, new)) for new in parts(receipts[images:])]
    each = statistics.median(grown)
    print(f"{images:6} images: report {whole:6.2f} s; growing: first {statistics.median(first):5.2f} s,", end=" ")
    print(f"then {each:5.2f} s for {NEW} new images, {1000 * each / NEW:4.0f} ms an image")


def filled(folder: RunFolder, images: int) -> list[Receipt]:
    """A run of prompts with eight seeds each, all done."""
    first = Task(
        model="demo", revision="r", dtype="float32", prompt="", seed=0, width=5376, height=3072,
        rendered_width=5376, rendered_height=3072, steps=20, guidance=5.0,
        pixel_steps=profiles.resolve("tiled", Size(5376, 3072)),
    )  # fmt: skip
    tasks = [
        identify(replace(first, prompt=f"landscape {index // 8}", seed=index % 8, source=f"p.txt:{index // 8}"))
        for index in range(images)
    ]
    tasks = [replace(task, name=task.id) for task in tasks]
    cost = Measurement(denoise=StagePeak(seconds=2.0, rss=2**30), decode=StagePeak(seconds=0.3), save_s=1.3)
    pixels = np.random.default_rng(0).integers(0, 255, (219, 384, 3), dtype=np.uint8)
    folder.begin("bench", "render", Origin(), tasks, Pins())
    file = folder.save_image(tasks[0], pixels)
    receipts = []
    for task in tasks:
        if not folder.thumb_path(task.id).exists():
            shutil.copyfile(folder.thumb_path(tasks[0].id), folder.thumb_path(task.id))
        receipts.append(
            Receipt(task=task, file=file, measurement=cost, machine=Machine(), attempts=1, started_at="")
        )
        folder.commit(receipts[-1])
    return receipts


def parts(receipts: list[Receipt]) -> list[list[Receipt]]:
    return [receipts[start : start + NEW] for start in range(0, len(receipts), NEW)]


def grow(book: Book, new: list[Receipt]) -> None:
    book.take(Outcome(key=item.task.id, status=Status.DONE, receipt=item) for item in new)
    book.write(0.0, last=False)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ("10", "100", "1000", "10000")):
        main(count)
